// Makes a pool's configuration out of what was measured.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bench/probe/measure.h"
#include "kvpool/config.h"
#include "kvpool/result.h"

namespace kvpool::cli {

// One thing that was measured.
struct Probed {
  DeviceKind kind = DeviceKind::kFile;
  std::filesystem::path path{};  // the folder or the block device; empty for memory
  int numa_node = -1;            // memory
  std::uint64_t free_bytes = 0;  // of the node, of the filesystem, or the block device's size
  probe::Measurement measured{};
};

struct PoolFileOptions {
  std::filesystem::path out;                    // pool.toml; names the pool, its files and catalog
  std::optional<std::uint64_t> memory_bytes;    // of all nodes together; 0: no memory
  std::optional<std::uint64_t> capacity_bytes;  // of each file
  std::uint64_t available_bytes = 0;            // memory that may still be taken
  bool accept_buffered = false;
};

// Default sizes leave the machine room: half of the memory that is available, split over the
// nodes, and a quarter of a filesystem's free space. kInvalid where a size that was asked for does
// not fit. A block device whose writes were not measured is taken to write half as fast as it
// reads.
Result<Config> MakeConfig(const std::vector<Probed>& probed, const PoolFileOptions& options);

}  // namespace kvpool::cli
