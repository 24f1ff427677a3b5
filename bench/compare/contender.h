// Contender: one way to keep a context and bring it back. The runner treats them all alike.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bench/compare/content.h"
#include "kvpool/config.h"
#include "kvpool/result.h"

namespace kvpool::bench {

// A device as every method sees it.
struct DeviceSpeed {
  std::string name;  // "memory", "memory 1", "file 800"
  DeviceKind kind = DeviceKind::kFile;
  int numa_node = -1;
  double read_bytes_per_s = 0;  // emulated or measured
  double write_bytes_per_s = 0;
  bool emulated = false;
};

// What does not change between methods of one run.
struct Setting {
  std::vector<DeviceSpeed> devices;
  std::filesystem::path folder;  // the run's own; empty without file devices
  std::uint64_t block_bytes = 0;
  std::uint64_t blocks = 0;  // of the whole context
  std::uint32_t layers = 1;
  std::uint64_t unit_bytes = 0;
  std::optional<double> memory_limit;  // of the context
  bool verify = true;
  bool accept_buffered = false;
  bool lease = false;  // what lies in memory is handed out in place, and copied after the clock
  const std::atomic<bool>* stop = nullptr;

  std::uint64_t context_bytes() const { return block_bytes * blocks; }
  bool stopped() const { return stop != nullptr && stop->load(std::memory_order_relaxed); }
};

// One measured store or retrieval.
struct Sample {
  double seconds = 0;
  double cpu_s = 0;
  std::optional<double> blocked_s = {};
  std::optional<double> spin_s = {};
  std::optional<double> layer_ratio = {};
  std::optional<double> hit_ratio = {};
  std::uint64_t bytes = 0;  // moved; what cpu_s is for
};

// Threads: one, except BytesRead.
class Contender {
 public:
  virtual ~Contender() = default;  // removes its files

  // Keeps the context that content.buffer() holds. Absent: storing is not what this one shows.
  virtual Result<std::optional<Sample>> Store(const Content& content) = 0;
  // Forgets what the operating system may have cached. Not timed.
  virtual void DropCaches() = 0;
  // Brings the leading `blocks` back into `into`.
  virtual Result<Sample> Retrieve(std::uint64_t blocks, std::span<std::byte> into) = 0;
  // Brings them back once more to see in what step the layers arrive: looking costs CPU time, so
  // it is kept out of Retrieve. LayerClock::WorstRatio; absent where layers are not told.
  virtual Result<std::optional<double>> LayerRatio(std::uint64_t /*blocks*/,
                                                   std::span<std::byte> /*into*/) {
    return std::nullopt;
  }
  // False: it keeps its bytes to itself, and there is nothing to compare (fio).
  virtual bool delivers() const { return true; }

  // Bytes brought back so far by each of Setting::devices. Threads: any.
  virtual std::vector<std::uint64_t> BytesRead() const = 0;
  // What the page cache did, which path was taken.
  virtual std::string note() const = 0;
};

// A pool that a contender opens.
struct PoolParts {
  Config config;
  std::vector<std::size_t> device_of;  // by device of `config`: which of Setting::devices it is
  bool keep = false;                   // it is somebody's: only the bench's own blocks go
};
// Of the setting's memory and files, with room for the context and little more; or the same engine
// with every device given the same share.
PoolParts MakePoolParts(const Setting& setting, Placement placement);
// The pool under test. `buffer` must outlive it: it is registered with the pool.
Result<std::unique_ptr<Contender>> MakePoolContender(const Setting& setting, PoolParts parts,
                                                     std::span<std::byte> buffer);
// What caches do today: memory first, then files on the fastest drive; every fourth block is in
// memory. `direct`: the same at its best.
Result<std::unique_ptr<Contender>> MakeSerialContender(const Setting& setting, bool direct);
// fio's io_uring on files of the same sizes; kUnsupported where fio is not installed.
Result<std::unique_ptr<Contender>> MakeFioContender(const Setting& setting);

// What they need, before they are made.
struct Need {
  std::uint64_t memory_bytes = 0;
  std::uint64_t disk_bytes = 0;
};
Need NeedOf(std::string_view method, const Setting& setting);
Need PoolNeed(const Setting& setting, Placement placement);

}  // namespace kvpool::bench
