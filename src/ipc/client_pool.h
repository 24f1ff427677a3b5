// A daemon's pool as a Pool.
#pragma once

#include <filesystem>
#include <memory>

#include "kvpool/pool.h"

namespace kvpool::ipc {

// A client of the daemon that listens at `socket`. Devices are not its to remove or replace
// (kUnsupported). Errors: those of Connection::Open.
Result<std::unique_ptr<Pool>> OpenClientPool(const std::filesystem::path& socket);

}  // namespace kvpool::ipc
