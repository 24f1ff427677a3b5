#include "web/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <strings.h>

#include <charconv>
#include <optional>
#include <utility>

namespace kvpool::web {
namespace {

// Nothing: it is no IP address.
std::optional<bool> IsLoopback(const std::string& host) {
  in_addr v4{};
  in6_addr v6{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6) != 0;
  return std::nullopt;
}

bool IsLocalhost(const std::string& host) { return strcasecmp(host.c_str(), "localhost") == 0; }

// "[host]:port", "host:port", "host": without brackets, and the port or nothing.
std::pair<std::string, std::string_view> Split(std::string_view text) {
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return {};
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && rest.front() != ':') return {};
    return {std::string(text.substr(1, end - 1)), rest.empty() ? rest : rest.substr(1)};
  }
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return {std::string(text), {}};
  return {std::string(text.substr(0, colon)), text.substr(colon + 1)};
}

}  // namespace

std::string Address::Text() const {
  return is_v6() ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

Result<Address> ParseAddress(std::string_view text) {
  const bool port_alone = text.find_first_not_of("0123456789") == std::string_view::npos;
  auto [host, digits] = port_alone ? std::pair(std::string("127.0.0.1"), text) : Split(text);
  Address address;
  address.host = IsLocalhost(host) ? "127.0.0.1" : host;
  const char* end = digits.data() + digits.size();
  const auto [last, error] = std::from_chars(digits.data(), end, address.port);
  const auto loopback = IsLoopback(address.host);
  const bool is_v6_bare = address.is_v6() && !text.starts_with('[');
  if (digits.empty() || error != std::errc{} || last != end || !loopback || is_v6_bare) {
    return Fail(Status::kInvalid,
                fmt::format("\"{}\" is no address for metrics: write IP:PORT, such as "
                            "127.0.0.1:9464 or [::1]:9464",
                            text));
  }
  address.loopback = *loopback;
  return address;
}

bool IsOwnHost(std::string_view host_header, const Address& at) {
  const std::string host = Split(host_header).first;
  if (IsLocalhost(host)) return true;
  const auto loopback = IsLoopback(host);
  return loopback && (*loopback || !at.loopback);
}

}  // namespace kvpool::web
