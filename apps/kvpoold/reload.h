// Reading the pool file again, while the daemon runs.
#pragma once

#include "apps/kvpoold/options.h"
#include "server/server.h"

namespace kvpool::daemon {

// Takes over what its tenants may do now, or nothing where anything else has changed; says so to
// the log, and to systemd. `config`: as the daemon has it. Threads: the server's.
void Reload(server::Server& server, const Options& options, Config& config);

}  // namespace kvpool::daemon
