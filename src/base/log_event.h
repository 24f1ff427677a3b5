// LogEvent: one line of a daemon's log, for people and for programs.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvpool {

enum class LogLevel : std::uint8_t { kInfo, kWarning, kError };

struct LogEvent {
  LogLevel level = LogLevel::kInfo;
  std::string_view event;  // a name that stays the same: "client_left"
  std::string message;     // one sentence for people, with all that the fields say
  std::vector<std::pair<std::string_view, std::string>> fields = {};
};

// Threads: any.
using Log = std::function<void(const LogEvent&)>;

}  // namespace kvpool
