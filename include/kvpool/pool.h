// Pool: all memory nodes and drives of a server as one place for KV caches.
//
//   auto pool = kvpool::Pool::Open(config);
//   auto space = (*pool)->OpenSpace({.model = "llama-3.1-8b", .dtype = "bf16", .layers = 32});
//   auto channel = (*pool)->OpenChannel();
//   auto hit = (*pool)->Match(*space, keys);
//   GetRequest get; get.space = *space; get.keys = keys.first(hit); get.into = segments;
//   (*channel)->Submit(get);
//   for (Request* done; (*channel)->Poll({&done, 1}) == 0;) use(get.LayersReady());
//
// A context's blocks are striped over every device in proportion to its bandwidth, so that a
// retrieval ends on all of them at the same moment ("Unified KV Pooling to Accelerate Long-Context
// LLM Serving", arXiv 2606.14779).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvpool/channel.h"
#include "kvpool/config.h"
#include "kvpool/key.h"
#include "kvpool/result.h"

namespace kvpool {

// Memory that every device of the pool can use without a copy: 2 MiB-aligned, hugepages where
// free. Freed with its last owner; outlive no pool with it.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual std::span<std::byte> bytes() const = 0;
  virtual std::string description() const = 0;  // "hugepages, locked", "4 KiB pages", ...
  // Of what was allocated as shareable: the memfd, as long as bytes() and sealed at that size, for
  // other processes to map. It stays the memory's. -1: the memory is private.
  virtual int descriptor() const { return -1; }
};

enum class DeviceState : std::uint8_t {
  kServing,
  kLeaving,  // being removed: nothing is placed there, what it holds is read and moves elsewhere
  kRemoved,  // it holds nothing
  kDrained,  // it failed too often: nothing is placed or asked there, what only it held is not
             // found
};

constexpr std::string_view ToString(DeviceState state) {
  switch (state) {
    case DeviceState::kServing:
      return "serving";
    case DeviceState::kLeaving:
      return "leaving";
    case DeviceState::kRemoved:
      return "removed";
    case DeviceState::kDrained:
      return "drained";
  }
  return "unknown";
}

struct DeviceInfo {
  std::string name;
  std::string kind;         // "memory", "file", "block", "nvme", "spdk"
  std::string description;  // the path taken and why: "io_uring, O_DIRECT", "node 0, hugepages"
  std::uint64_t capacity_bytes = 0;
  std::uint64_t used_bytes = 0;
  double read_bytes_per_s = 0;  // as configured
  double write_bytes_per_s = 0;
  double measured_read_bytes_per_s = 0;  // as it shows while it is busy, and placement sees it
  double measured_write_bytes_per_s = 0;
  double share = 0;  // of what is written next, 0..1, before limits of space
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;       // since the pool was opened
  std::uint64_t bytes_written_ever = 0;  // drives: since it came into the pool, if a catalog counts
  std::uint64_t write_budget_per_day = 0;  // 0: no limit
  std::uint64_t write_budget_left = 0;
  std::uint64_t io_errors = 0;
  std::uint64_t checksum_failures = 0;
  std::uint64_t missed_deadlines = 0;     // requests that ended by theirs while it held transfers
  std::uint64_t transfers_abandoned = 0;  // that it did not let go of when requests had to end
  DeviceState state = DeviceState::kServing;
  std::string state_reason;  // why it does not serve: one sentence
};

struct GpuInfo {
  std::string name;
  std::string kind;         // "cuda", "null"
  std::string identity;     // the same in every process: "GPU-" and its UUID; "null"
  std::string description;  // "NVIDIA H200, PCI 0000:19:00.0, node 0"
  // Why copies fail, or why the memory of the last request that named some cannot be used: one
  // sentence; empty while nothing is wrong.
  std::string failure;

  friend bool operator==(const GpuInfo&, const GpuInfo&) = default;
};

// What a tenant of the pool file holds, and did since the pool was opened.
struct TenantInfo {
  std::string name;
  std::uint32_t weight = 1;
  std::uint64_t blocks = 0;
  std::uint64_t block_bytes = 0;  // logical
  std::uint64_t used_bytes = 0;   // of devices; a unit that memory and a drive hold counts once
  std::uint64_t quota_bytes = 0;  // what used_bytes may come to; 0: no limit
  std::uint64_t evictions = 0;    // of its blocks
  std::uint64_t declined = 0;     // blocks that were put and that the quota had no room for
  std::uint64_t hits = 0;         // blocks of its spaces that a get found, and did not find
  std::uint64_t misses = 0;

  friend bool operator==(const TenantInfo&, const TenantInfo&) = default;
};

struct PoolInfo {
  std::string name;
  std::uint64_t blocks = 0;
  std::uint64_t block_bytes = 0;  // logical
  std::uint64_t evictions = 0;
  std::uint64_t dirty_bytes = 0;  // lies in memory only: a crash would lose these blocks
  std::uint64_t declined = 0;     // blocks that were put and not admitted, see Config::admission
  std::uint64_t blocks_lost_at_open = 0;  // recorded, but with units that did not survive
  std::vector<DeviceInfo> devices;
  std::vector<GpuInfo> gpus;
  // A daemon tells its client of the client's own only, and root and its own user of all.
  std::vector<TenantInfo> tenants;
  std::vector<std::int32_t> lane_thread_ids;  // for accounting by /proc/self/task
  std::vector<double> lane_spin_s;            // of each: polling devices that had nothing yet
};

// Threads: any.
class Pool {
 public:
  // Creates the files and the catalog that `config` names. kExists, kInvalid, kNoSpace,
  // kUnsupported (no O_DIRECT), kIoError, each with one sentence. On failure leaves nothing behind.
  static Result<void> Create(const Config& config);

  // Opens what Create made; with config.create_if_missing creates it first where nothing is there.
  // A drive that is not there or broken is drained from the start, as long as another is left.
  // kNotFound, kInvalid, kBusy, kCorrupt, kNoSpace, kUnsupported, kIoError, each with one sentence.
  static Result<std::unique_ptr<Pool>> Open(const Config& config);

  // Close all channels first. Waits for the lanes, then records what is to survive.
  virtual ~Pool() = default;

  virtual Result<Space> OpenSpace(const SpaceSpec& spec) = 0;
  virtual Result<std::unique_ptr<Channel>> OpenChannel(const ChannelOptions& options = {}) = 0;

  // How many leading keys are present. In memory, under 1 us a key, no side effect.
  virtual std::size_t Match(Space space, std::span<const Key> keys) const = 0;
  // Key by key. present.size() == keys.size().
  virtual void Contains(Space space, std::span<const Key> keys, std::span<bool> present) const = 0;

  // `shareable`: other processes can map it, too (Memory::descriptor), for which it never lies on
  // reserved hugepages. A daemon's client gets nothing else.
  virtual Result<std::shared_ptr<Memory>> Allocate(std::uint64_t bytes, int numa_node = -1,
                                                   bool shareable = false) = 0;
  // Prepares the caller's own memory for transfers as far as it allows; any memory works without.
  virtual Result<std::shared_ptr<Memory>> Register(std::span<std::byte> bytes) = 0;

  // Moves what lies on a device to the others while requests go on, then uses it no more; its
  // drive may be taken out or replaced. Waits for that. Where the others have no room the coldest
  // blocks go. kNotFound (no such device), kInvalid (it does not serve, or is the last), kTimedOut
  // (requests or leases hold on to it; it serves again).
  virtual Result<void> RemoveDevice(std::string_view name) = 0;
  // Labels another drive and uses it in the place of one that is drained or removed. Name it in the
  // pool file, too, before the pool is opened again. kNotFound, kInvalid, kTimedOut (requests hold
  // on to the former), and what Create gives.
  virtual Result<void> ReplaceDevice(std::string_view name, const DeviceConfig& by) = 0;

  virtual PoolInfo info() const = 0;
};

}  // namespace kvpool
