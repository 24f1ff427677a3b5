// Config: everything a pool is told. One TOML file, one struct.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvpool/result.h"

namespace kvpool {

enum class DeviceKind : std::uint8_t {
  kMemory,
  kFile,
  kBlock,  // a raw drive through the kernel's block layer
  kNvme,   // an NVMe drive by io_uring passthrough: no block layer
  kSpdk,   // an NVMe drive from user space, local or over a network
  kDrive,  // a raw drive by the best way that this machine has: kNvme, or else kBlock
};

// A drive without a filesystem. It is used whole where no capacity is given.
constexpr bool IsRawDrive(DeviceKind kind) {
  return kind != DeviceKind::kMemory && kind != DeviceKind::kFile;
}

// From this long after the device was opened, another speed.
struct SlowStep {
  double after_s = 0;
  double bytes_per_s = 0;  // > 0

  friend bool operator==(const SlowStep&, const SlowStep&) = default;
};

// Gives a device a speed that it does not have: unequal pools on any machine.
struct SlowConfig {
  double bytes_per_s = 0;            // reads and writes together; > 0
  double latency_us = 0;             // added to every I/O
  std::uint64_t seed = 0;            // of the latency's jitter; 0: none
  std::vector<SlowStep> later = {};  // earliest first: a drive that is throttled, and recovers

  friend bool operator==(const SlowConfig&, const SlowConfig&) = default;
};

struct DeviceConfig {
  std::string name;  // unique in the pool
  DeviceKind kind = DeviceKind::kFile;
  std::filesystem::path path;              // file or drive; empty for memory and kSpdk
  std::uint64_t capacity_bytes = 0;        // a multiple of 2 MiB; 0 with a raw drive: all of it
  int numa_node = -1;                      // memory: the node it is bound to; -1: wherever
  double read_bytes_per_s = 0;             // as measured by `kvpool probe`; 1 to 1e15
  double write_bytes_per_s = 0;            // > 0
  std::uint64_t write_budget_per_day = 0;  // bytes, of a drive that is to last; 0: no limit
  bool accept_buffered = false;  // file: go through the page cache where O_DIRECT is refused
  bool polled = false;           // kNvme, kDrive: the driver's poll queues, see docs/nvme.md
  std::string address;           // kSpdk: a transport id, see docs/configuration.md
  std::optional<SlowConfig> slow;
  std::string faults;  // a script of faults for tests, see docs/configuration.md; empty: none

  // The path or address, as messages name it; empty for memory.
  std::string Where() const { return address.empty() ? path.string() : address; }

  friend bool operator==(const DeviceConfig&, const DeviceConfig&) = default;
};

// What several devices share on the way to a destination: a socket interconnect, a PCIe switch.
struct LinkConfig {
  std::string name;
  double bytes_per_s = 0;            // > 0
  std::vector<std::string> devices;  // names; links nest or are disjoint

  friend bool operator==(const LinkConfig&, const LinkConfig&) = default;
};

enum class GpuKind : std::uint8_t {
  kCuda,  // by NVIDIA's driver, found at run time
  kNull,  // host memory that plays a GPU's: for tests and measurements without one
};

// A GPU that requests may have segments on (MemoryKind::kGpu).
struct GpuConfig {
  std::string name;  // unique among GPUs
  GpuKind kind = GpuKind::kCuda;
  std::uint32_t ordinal = 0;  // kCuda: as CUDA counts
  // Of its link, each way: placement uses no more memory than it takes to fill that. kNull: what it
  // moves, > 0. kCuda, 0: not known.
  double bytes_per_s = 0;
  double latency_us = 0;  // kNull: added to every copy
  int numa_node = -1;     // that it hangs on; -1: kCuda: what the kernel says; kNull: none

  friend bool operator==(const GpuConfig&, const GpuConfig&) = default;
};

// Who shares a daemon's pool with others: sees its own spaces only, and holds no more than its
// quota.
struct TenantConfig {
  std::string name;                 // unique in the pool; SpaceSpec::owner of its spaces
  std::vector<std::string> users;   // Unix users, by name or number
  std::vector<std::string> groups;  // Unix groups, by name or number
  // What its blocks may occupy, of all devices together: a ceiling, not a reservation. At least
  // 2 MiB; nothing: no limit.
  std::optional<std::uint64_t> quota_bytes = std::nullopt;
  std::uint32_t weight = 1;          // beside that of others, 1 to 1000
  std::vector<std::string> readers;  // names of other tenants that may read its spaces

  friend bool operator==(const TenantConfig&, const TenantConfig&) = default;
};

enum class Placement : std::uint8_t {
  kBandwidth,  // shares in proportion to read bandwidth
  kEqual,      // RAID0-like, for comparison
};

enum class Admission : std::uint8_t {
  kAll,          // whatever is put is stored
  kSecondSight,  // a block is stored when its key was put before: spares drives
};

struct Config {
  static constexpr int kVersion = 1;

  int version = kVersion;
  std::string name = "kvpool";
  std::uint64_t unit_bytes = 256 * 1024;  // stripe unit: 32 KiB to 1 MiB, a power of two
  std::string policy = "default";         // eviction: see docs/eviction.md
  Admission admission = Admission::kAll;
  Placement placement = Placement::kBandwidth;
  bool adapt = true;   // shares follow measured speeds; off: the configured ones, for comparison
  bool verify = true;  // checksums computed on put and checked on every read
  std::filesystem::path catalog;  // empty: nothing survives a restart
  std::uint32_t lanes = 0;        // threads; 0: by the number of devices and processors
  std::chrono::milliseconds deadline{30'000};  // of a request that names none
  bool create_if_missing = false;
  // Where the daemon (kvpoold) that has this pool listens: Pool::Open gives a client of it, and
  // looks at nothing else here. Empty: the pool is this process' own.
  std::filesystem::path socket;
  // Where the daemon serves its metrics and its page: "127.0.0.1:9464". Empty: nowhere.
  std::string metrics;
  std::vector<DeviceConfig> devices;
  std::vector<LinkConfig> links;
  std::vector<GpuConfig> gpus;  // of the process that has the pool: a daemon serves its clients
  std::vector<TenantConfig> tenants;  // empty: all who may connect to a daemon share everything

  // Every problem at once, one sentence each; empty when valid. No I/O.
  std::vector<std::string> Validate() const;

  // Reads and validates a TOML file; docs/configuration.md has its keys. kInvalid lists every
  // problem with its line; an unknown key is one, with the nearest known key. Relative paths are
  // relative to the file, for Parse to `relative_to`.
  static Result<Config> Load(const std::filesystem::path& path);
  static Result<Config> Parse(std::string_view toml, const std::filesystem::path& relative_to = {});

  // The TOML text that Parse reads back as this, when valid.
  std::string ToToml() const;

  friend bool operator==(const Config&, const Config&) = default;
};

}  // namespace kvpool
