#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>

#include "apps/default_socket.h"
#include "apps/kvpool/options.h"
#include "apps/kvpool/top_view.h"
#include "ipc/connection.h"
#include "status/status.h"

namespace kvpool::cli {
namespace {

constexpr const char* kExamples =
    R"(  kvpool top                        the daemon that was started without a pool file
  kvpool top --pool pool.toml       the one that has this pool
  kvpool top --once                 one look, of one second)";

constexpr std::chrono::seconds kInterval{1};

struct TopOptions {
  std::filesystem::path pool;
  std::filesystem::path socket;
  bool once = false;
};

Result<std::filesystem::path> SocketOf(const TopOptions& options) {
  if (!options.socket.empty()) return options.socket;
  if (options.pool.empty()) return DefaultSocket();
  const auto config = LoadPoolFile(options.pool);
  if (!config) return tl::unexpected(config.error());
  if (!config->socket.empty()) return config->socket;
  return Fail(Status::kInvalid,
              fmt::format("{} names no socket, so no daemon has its pool: set socket in its [pool]",
                          options.pool.string()));
}

Result<status::DaemonStatus> AskStatus(ipc::Connection& connection) {
  const auto answer = connection.Ask(ipc::MessageType::kStatus, {});
  if (!answer) return tl::unexpected(answer.error());
  return status::FromJson(
      {reinterpret_cast<const char*>(answer->bytes.data()), answer->bytes.size()});
}

// A look and one that is an interval later.
Result<void> ShowOnce(const std::filesystem::path& socket) {
  const auto connection = ipc::Connection::Open(socket);
  if (!connection) return tl::unexpected(connection.error());
  const auto before = AskStatus(**connection);
  if (!before) return tl::unexpected(before.error());
  std::this_thread::sleep_for(kInterval);
  const auto now = AskStatus(**connection);
  if (!now) return tl::unexpected(now.error());
  for (const std::string& line : TopLines(*now, *before, std::string::npos))
    fmt::print("{}\n", line);
  return {};
}

winsize ScreenSize() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) {
    size.ws_col = 80;
    size.ws_row = 24;
  }
  return size;
}

// In the place of what was there: home, each line to its end, then the rest of the screen.
void Draw(std::vector<std::string> lines) {
  const winsize size = ScreenSize();
  lines.resize(std::min<std::size_t>(lines.size(), size.ws_row - 1));
  fmt::print("\x1b[H");
  for (const std::string& line : lines) fmt::print("{}\x1b[K\n", line.substr(0, size.ws_col));
  fmt::print("\x1b[J");
  std::fflush(stdout);
}

// Until it is interrupted; a daemon that goes is waited for.
Result<void> ShowOn(const std::filesystem::path& socket) {
  auto connection = ipc::Connection::Open(socket);
  if (!connection) return tl::unexpected(connection.error());
  std::optional<status::DaemonStatus> before;
  for (;; std::this_thread::sleep_for(kInterval)) {
    if (!connection) connection = ipc::Connection::Open(socket);
    auto now = connection ? AskStatus(**connection) : tl::unexpected(connection.error());
    if (!now) {
      if (now.error().status != Status::kCancelled && now.error().status != Status::kNotFound) {
        return tl::unexpected(now.error());
      }
      connection = tl::unexpected(now.error());
      before.reset();
      Draw({"the daemon does not answer: " + now.error().message});
      continue;
    }
    Draw(TopLines(*now, before.value_or(*now), ScreenSize().ws_col));
    before = std::move(*now);
  }
}

Result<void> RunTop(const TopOptions& options) {
  const auto socket = SocketOf(options);
  if (!socket) return tl::unexpected(socket.error());
  return options.once || ::isatty(STDOUT_FILENO) == 0 ? ShowOnce(*socket) : ShowOn(*socket);
}

}  // namespace

void AddTop(CLI::App& app, Action& action) {
  auto options = std::make_shared<TopOptions>();
  CLI::App& command = AddCommand(app, "top", "Show what a daemon's devices, spaces and clients do",
                                 kExamples, action, [options] { return RunTop(*options); });
  CLI::Option* pool = command.add_option("--pool", options->pool, "The daemon of this pool file");
  pool->type_name("POOL.toml");
  command.add_option("--socket", options->socket, "The daemon that listens here")
      ->type_name("PATH")
      ->excludes(pool);
  command.add_flag("--once", options->once,
                   "One look instead of one a second; so it is where standard output is no "
                   "terminal");
}

}  // namespace kvpool::cli
