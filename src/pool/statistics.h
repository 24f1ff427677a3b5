// PoolStatistics: what a pool has done and is doing, for operators: metrics, the daemon's page,
// kvpool top. PoolInfo says what the pool is; this says how it fares.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kvpool/pool.h"
#include "pool/device_counters.h"

namespace kvpool::pool {

inline constexpr std::size_t kMostSpacesShown = 64;
inline constexpr std::size_t kMostSpaceTextShown = 128;  // bytes of each text of a space
inline constexpr std::size_t kRequestsLogged = 64;       // of each kind

// Counters go up from 0 since the pool was opened. Times are of the pool's clock, which is not the
// time of day. In the order of PoolInfo::devices.
struct DeviceStatistics {
  std::uint64_t mover_bytes_read = 0;  // of DeviceInfo::bytes_read: for spills and evacuations
  std::uint64_t mover_bytes_written = 0;
  LatencyCounts read_latency;
  LatencyCounts write_latency;
  std::uint64_t transfers_in_flight = 0;  // now; one transfer has one unit or several
  std::uint64_t units_waiting = 0;        // now, for requests and for the mover
  double share_read = 0;  // 0..1 of the bytes that the gets in the log brought; 0: none
  double share_written =
      0;  // of those that the puts in the log stored; DeviceInfo::share is wanted
  std::uint64_t drains = 0;  // how often a device that stood here was drained
};

// Blocks and bytes that requests asked for and got in one space.
struct SpaceCounts {
  std::uint64_t hits = 0;  // blocks that gets delivered
  std::uint64_t hit_bytes = 0;
  std::uint64_t misses = 0;  // blocks that gets asked for and that were not there, or failed
  std::uint64_t stored = 0;  // blocks that puts added: what an engine had to compute
  std::uint64_t stored_bytes = 0;
  std::uint64_t declined = 0;  // blocks that were put and not admitted

  SpaceCounts& operator+=(const SpaceCounts& other);
};

// Texts are cut to kMostSpaceTextShown bytes of printable ASCII; a tenant's salt is not shown.
struct SpaceStatistics {
  std::uint32_t id = 0;
  std::string model;
  std::string dtype;
  std::string layer_group;
  std::string rank;
  std::string engine;
  std::string owner;
  SpaceCounts counts;
};

// One device's part of a request.
struct LoggedDevice {
  std::uint32_t device = 0;  // in PoolInfo::devices
  std::uint64_t bytes = 0;   // as moved: with padding, without what failed
  std::int64_t end_ns = 0;   // when the last of them was there
};

// One get or put that moved something.
struct LoggedRequest {
  std::uint32_t space = 0;
  std::int64_t start_ns = 0;  // when it was submitted
  std::int64_t end_ns = 0;
  std::uint64_t bytes = 0;   // of all devices
  std::uint32_t blocks = 0;  // that it named
  std::uint32_t done = 0;    // of these with status ok
  std::vector<LoggedDevice> devices;
};

struct PoolStatistics {
  PoolInfo info;
  std::int64_t now_ns = 0;
  std::vector<DeviceStatistics> devices;
  std::uint64_t spilled_units = 0;  // that the mover has copied from memory to drives
  std::uint64_t spilled_bytes = 0;  // their slots
  // Those with the most blocks asked for; what all others came to is in `other_spaces`.
  std::vector<SpaceStatistics> spaces;
  SpaceCounts other_spaces;
  std::vector<LoggedRequest> gets;  // the last kRequestsLogged, the oldest first
  std::vector<LoggedRequest> puts;
};

}  // namespace kvpool::pool
