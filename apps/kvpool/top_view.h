// What `kvpool top` shows, as text.
#pragma once

#include <string>
#include <vector>

#include "status/status.h"

namespace kvpool::cli {

// Lines of at most `columns` characters. `before`: an earlier status of the same daemon, which
// rates and latencies are told since.
std::vector<std::string> TopLines(const status::DaemonStatus& now,
                                  const status::DaemonStatus& before, std::size_t columns);

}  // namespace kvpool::cli
