#include "apps/kvpoold/logger.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace kvpool::daemon {
namespace {

const char* NameOf(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

// "2026-01-31T23:59:59.123Z"
std::string Now() {
  using std::chrono::milliseconds;
  const auto now = std::chrono::time_point_cast<milliseconds>(std::chrono::system_clock::now());
  const auto ms = now.time_since_epoch().count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(now)), ms);
}

}  // namespace

void WriteLog(LogFormat format, const LogEvent& event) {
  if (format == LogFormat::kText) return fmt::print(stderr, "kvpoold: {}\n", event.message);
  nlohmann::ordered_json line = {{"time", Now()},
                                 {"level", NameOf(event.level)},
                                 {"event", event.event},
                                 {"message", event.message}};
  for (const auto& [name, value] : event.fields) line[std::string(name)] = value;
  // A client's name may hold any bytes.
  using Handler = nlohmann::ordered_json::error_handler_t;
  fmt::print(stderr, "{}\n", line.dump(-1, ' ', true, Handler::replace));
}

}  // namespace kvpool::daemon
