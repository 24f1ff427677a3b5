// Replays a trace through a pool: match each request's prefix, get the hits, put the misses.
//
//   auto replay = PoolReplay::Open(*pool, {.bytes_per_block = 64 * kKiB});
//   for (const auto& request : trace) (*replay)->Serve(request.timestamp_ms, request.hash_ids);
//   PoolReplayReport report = (*replay)->Report();
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kvpool/pool.h"

namespace kvpool::bench {

struct PoolReplayOptions {
  std::uint64_t bytes_per_block = 64 * 1024;  // a multiple of 8
  double speed = 0;        // of the trace's clock: 2 is twice as fast; 0: as fast as it goes
  std::uint64_t seed = 1;  // a block's bytes follow from this and its id
};

struct PoolReplayReport {
  std::uint64_t requests = 0;
  std::uint64_t blocks = 0;       // references, of all requests
  std::uint64_t hit_blocks = 0;   // in leading runs, delivered intact
  std::uint64_t lost_blocks = 0;  // matched, and not found when they were to be read
  std::uint64_t stored_blocks = 0;
  std::uint64_t declined_blocks = 0;  // by the pool's admission policy
  std::uint64_t refused_blocks = 0;   // put and not stored: no space, or a failing device
  std::uint64_t wrong_bytes = 0;      // delivered as intact and not what was stored: a defect
  std::uint64_t evictions = 0;
  std::uint64_t bytes_got = 0;
  std::uint64_t bytes_put = 0;
  double seconds = 0;      // from the first request to the end of the last
  double get_seconds = 0;  // in gets, of all requests
  double late_s_max = 0;   // behind the trace's clock
  // From a request's first Submit of gets to its last block in place; requests with hits only.
  double get_ms_p50 = 0;
  double get_ms_p90 = 0;
  double get_ms_p99 = 0;
  double get_ms_max = 0;

  struct Device {
    std::string name;
    std::uint64_t bytes_read = 0;
    std::uint64_t bytes_written = 0;
  };
  std::vector<Device> devices;

  double prefix_hit_ratio() const {
    return blocks == 0 ? 0 : static_cast<double>(hit_blocks) / static_cast<double>(blocks);
  }
};

// Threads: one.
class PoolReplay {
 public:
  // kInvalid (bytes_per_block), kNoSpace (no memory for buffers), or what the pool says.
  static Result<std::unique_ptr<PoolReplay>> Open(Pool& pool, const PoolReplayOptions& options);
  virtual ~PoolReplay() = default;

  // One request of the trace: `hash_ids` are the blocks of its context, first to last. Waits for
  // its time by the trace's clock, then until it is served. kBusy and kInvalid of the pool end the
  // replay; what a block meets (not found, no space) is counted.
  virtual Result<void> Serve(double timestamp_ms, std::span<const std::uint64_t> hash_ids) = 0;

  virtual PoolReplayReport Report() const = 0;
};

}  // namespace kvpool::bench
