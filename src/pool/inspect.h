// CheckPool: reads back and verifies everything a pool holds.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kvpool/config.h"
#include "kvpool/pool.h"
#include "kvpool/result.h"

namespace kvpool::pool {

struct CheckReport {
  std::uint64_t blocks = 0;         // recorded and still there when the pool was opened
  std::uint64_t bytes = 0;          // of those that verified
  std::uint64_t blocks_bad = 0;     // failed to read or to verify; they are dropped
  std::uint64_t blocks_lost = 0;    // recorded, but not all of their units are there any more
  std::vector<DeviceInfo> devices;  // with errors and checksum failures met while checking
};

// Opens the pool, alone, and reads every block with verification on whatever the configuration
// says. `progress(done, total)` in blocks; may be empty. Blocks that fail are dropped from the
// pool: from then on they are misses. Errors: those of Pool::Open.
Result<CheckReport> CheckPool(const Config& config,
                              const std::function<void(std::uint64_t, std::uint64_t)>& progress);

}  // namespace kvpool::pool
