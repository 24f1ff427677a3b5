#include "web/web_server.h"

#include <arpa/inet.h>
#include <civetweb.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/mutex.h"
#include "web/exposition.h"
#include "web/page.h"

namespace kvpool::web {
namespace {

constexpr std::int64_t kFreshNs = 100'000'000;

struct Answer {
  int code = 200;
  const char* reason = "OK";
  std::string type = "text/plain; charset=utf-8";
  std::string body;
  std::string headers;  // more of them, each with its end of line
};

std::string MakeNonce() {
  std::array<unsigned char, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return {};
  std::string nonce;
  for (const unsigned char byte : bytes) nonce += fmt::format("{:02x}", byte);
  return nonce;
}

Answer Page() {
  const std::string nonce = MakeNonce();
  if (nonce.empty()) return {500, "Internal Server Error", "text/plain", "no random bytes\n", ""};
  std::string html(kPage);
  for (auto at = html.find(kNonceMark); at != std::string::npos; at = html.find(kNonceMark, at)) {
    html.replace(at, kNonceMark.size(), nonce);
  }
  const std::string policy = fmt::format(
      "Content-Security-Policy: default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; "
      "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
      "frame-ancestors 'none'\r\n",
      nonce);
  return {200, "OK", "text/html; charset=utf-8", std::move(html), policy};
}

Answer Refusal(int code, const char* reason, std::string sentence, std::string headers = {}) {
  return {code, reason, "text/plain; charset=utf-8", std::move(sentence), std::move(headers)};
}

// Why nobody can listen there; 0: one can.
int ErrorAt(const Address& at) {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  v4.sin_port = v6.sin6_port = htons(at.port);
  inet_pton(AF_INET, at.host.c_str(), &v4.sin_addr);
  inet_pton(AF_INET6, at.host.c_str(), &v6.sin6_addr);
  const Descriptor probe(::socket(at.is_v6() ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!probe) return errno;
  const int on = 1;
  ::setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const int bound = at.is_v6()
                        ? ::bind(probe.get(), reinterpret_cast<const sockaddr*>(&v6), sizeof v6)
                        : ::bind(probe.get(), reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
  if (bound != 0 || ::listen(probe.get(), 1) != 0) return errno;
  return 0;
}

class CivetwebServer final : public WebServer {
 public:
  CivetwebServer(const Address& at, StatusSource source)
      : address_(at), source_(std::move(source)) {}
  ~CivetwebServer() override {
    if (context_ != nullptr) mg_stop(context_);
    mg_exit_library();
  }

  Result<void> Start() {
    mg_init_library(0);
    const int error = ErrorAt(address_);
    if (error == 0 && Run()) return {};
    return Fail(error == EADDRINUSE ? Status::kBusy : Status::kIoError,
                fmt::format("metrics cannot be served at {} ({}): name another address and port "
                            "with --metrics, or in the pool file",
                            address_.Text(),
                            error == 0 ? "the HTTP server does not start" : std::strerror(error)),
                error);
  }

  Address address() const override { return address_; }

 private:
  bool Run() {
    const std::string where = address_.Text();
    const char* options[] = {"listening_ports",
                             where.c_str(),
                             "num_threads",
                             "8",
                             "request_timeout_ms",
                             "5000",
                             "enable_keep_alive",
                             "no",
                             "max_request_size",
                             "16384",
                             nullptr};
    mg_callbacks callbacks{};
    callbacks.begin_request = [](mg_connection* connection) {
      auto* self = static_cast<CivetwebServer*>(mg_get_user_data(mg_get_context(connection)));
      return self->Handle(connection);
    };
    callbacks.log_message = [](const mg_connection*, const char*) { return 1; };
    context_ = mg_start(&callbacks, this, options);
    if (context_ == nullptr) return false;
    mg_server_port port{};
    if (mg_get_server_ports(context_, 1, &port) == 1)
      address_.port = static_cast<std::uint16_t>(port.port);
    return true;
  }

  int Handle(mg_connection* connection) {
    Answer answer;
    try {
      answer = AnswerTo(*mg_get_request_info(connection), mg_get_header(connection, "Host"));
    } catch (const std::exception&) {  // civetweb is C: nothing may fly through it
      answer = Refusal(500, "Internal Server Error", "out of memory\n");
    }
    mg_printf(connection,
              "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s"
              "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
              "Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n"
              "Connection: close\r\n\r\n",
              answer.code, answer.reason, answer.type.c_str(), answer.body.size(),
              answer.headers.c_str());
    mg_write(connection, answer.body.data(), answer.body.size());
    return answer.code;  // not 0: it has been answered
  }

  Answer AnswerTo(const mg_request_info& request, const char* host) {
    if (host == nullptr || !IsOwnHost(host, address_)) {
      return Refusal(403, "Forbidden", "ask for this server by its address\n");
    }
    if (std::strcmp(request.request_method, "GET") != 0) {
      return Refusal(405, "Method Not Allowed", "this server is for reading: GET\n",
                     "Allow: GET\r\n");
    }
    const std::string_view path = request.local_uri == nullptr ? "" : request.local_uri;
    if (path == "/") return Page();
    if (path == "/api/status") {
      return {200, "OK", "application/json", status::ToJson(Status()), ""};
    }
    if (path == "/metrics") {
      return {200, "OK", "text/plain; version=0.0.4; charset=utf-8", Exposition(Status()), ""};
    }
    return Refusal(404, "Not Found", "there are /, /metrics and /api/status\n");
  }

  // Who asks often gets what was true a moment ago: asking costs the pool's lock.
  status::DaemonStatus Status() {
    MutexLock lock(mutex_);
    const std::int64_t now_ns = Clock::Monotonic().NowNs();
    if (taken_ns_ == 0 || now_ns - taken_ns_ >= kFreshNs) {
      last_ = source_();
      taken_ns_ = now_ns;
    }
    return last_;
  }

  Address address_;
  const StatusSource source_;
  mg_context* context_ = nullptr;
  Mutex mutex_;
  std::int64_t taken_ns_ KVPOOL_GUARDED_BY(mutex_) = 0;
  status::DaemonStatus last_ KVPOOL_GUARDED_BY(mutex_);
};

}  // namespace

Result<std::unique_ptr<WebServer>> WebServer::Listen(const Address& at, StatusSource source) {
  auto server = std::make_unique<CivetwebServer>(at, std::move(source));
  if (auto started = server->Start(); !started) return tl::unexpected(started.error());
  return std::unique_ptr<WebServer>(std::move(server));
}

}  // namespace kvpool::web
