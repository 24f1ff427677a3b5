// The daemon's log: one line an event, on standard error.
#pragma once

#include <cstdint>

#include "base/log_event.h"

namespace kvpool::daemon {

enum class LogFormat : std::uint8_t {
  kText,  // "kvpoold: " and the sentence
  kJson,  // an object: time (UTC), level, event, message, and the event's fields
};

// Threads: any.
void WriteLog(LogFormat format, const LogEvent& event);

}  // namespace kvpool::daemon
