// The daemon's status in Prometheus' text format.
#pragma once

#include <string>

#include "status/status.h"

namespace kvpool::web {

// docs/metrics.md has every metric. Nothing is counted here: all of it is read from `status`.
std::string Exposition(const status::DaemonStatus& status);

}  // namespace kvpool::web
