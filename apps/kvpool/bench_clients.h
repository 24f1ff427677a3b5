// kvpool bench --socket: several processes on a daemon.
#pragma once

#include <string>

#include "apps/kvpool/options.h"
#include "bench/clients/clients.h"

namespace kvpool::cli {

// --socket, --clients, --seconds.
void AddClientsOptions(CLI::App& command, bench::ClientsOptions& options);
// kInvalid where options were given that mean nothing with --socket, or only with it.
Result<void> CheckForClients(const bench::ClientsOptions& options, const CLI::App& given);
// `json`: a file, "-" or empty.
Result<void> RunOnDaemon(bench::ClientsOptions options, const std::string& json);

}  // namespace kvpool::cli
