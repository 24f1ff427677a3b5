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
  std::uint64_t blocks_bad = 0;     // failed to read or to verify
  bool dropped = false;             // the bad ones: from now on they are misses at once
  std::uint64_t blocks_lost = 0;    // recorded, but not all of their units are there any more
  std::vector<DeviceInfo> devices;  // with errors and checksum failures met while checking
};

struct CheckWishes {
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;  // blocks; may be empty
  // Asked once, where blocks are bad, when all has been read: true drops them. Empty: they stay
  // until a get meets them.
  std::function<bool(const CheckReport&)> may_drop;
};

// Opens the pool, alone, and reads every block with verification on whatever the configuration
// says. Errors: those of Pool::Open.
Result<CheckReport> CheckPool(const Config& config, const CheckWishes& wishes);

}  // namespace kvpool::pool
