// Stager: the way between this machine's memory and the memory of one GPU. Has never heard of a
// block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>

#include "gpu/handle.h"
#include "gpu/range.h"
#include "kvpool/result.h"
#include "kvpool/status.h"
#include "mem/pinner.h"

namespace kvpool::gpu {

enum class Direction : std::uint8_t { kToGpu, kToHost };

// Bytes that lie in one piece on both sides. `gpu` is an address of the GPU's memory, which the
// processor must not touch.
struct Run {
  std::byte* host = nullptr;
  std::byte* gpu = nullptr;
  std::uint64_t bytes = 0;  // > 0
};

// One copy of any number of runs. The submitter owns it, its runs and their memory, and leaves them
// alone from Submit until Poll hands it back.
struct Copy {
  Direction direction = Direction::kToGpu;
  Status status = Status::kOk;  // out: kOk, kIoError
  std::span<const Run> runs;    // at least one
  void* user = nullptr;         // the submitter's
  // The queue's own, between Submit and Poll.
  std::int64_t queue_due_ns = 0;
};

struct Traits {
  std::string name;
  std::string kind;         // "cuda", "null"
  std::string identity;     // the same in every process: "GPU-" and its UUID; "null"
  std::string description;  // for people: "NVIDIA H200, PCI 0000:19:00.0, node 0"
  int numa_node = -1;       // that it hangs on; -1: not known
  double bytes_per_s = 0;   // of its link, each way; 0: not known
};

// One thread's path to the GPU. Copies of one direction are done in the order in which they were
// submitted. Threads: one at a time.
class Queue {
 public:
  virtual ~Queue() = default;  // nothing may be in flight

  // Takes the first n of `copies` and returns n; fewer than given when the queue is full.
  virtual std::size_t Submit(std::span<Copy* const> copies) = 0;

  // Hands back up to done.size() finished copies, each once, and only when the GPU can touch
  // neither side any more. Does not wait. The bytes of one that is kOk are in place for every
  // stream.
  virtual std::size_t Poll(std::span<Copy*> done) = 0;

  // When Poll may next have something: kNever while nothing is in flight.
  virtual std::int64_t NextPollNs() const = 0;
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
};

// Host memory may be any; what is pinned moves without the processor and without a second copy.
// Threads: any; outlives its queues.
class Stager : public mem::Pinner {
 public:
  virtual const Traits& traits() const = 0;
  virtual Result<std::unique_ptr<Queue>> OpenQueue() = 0;

  // The allocation of this GPU's memory that `address` lies in; empty: it is none of its.
  virtual Range RangeAround(const std::byte* address) const = 0;

  // Maps memory of this GPU that another process has exported and that is `bytes` long at least. It
  // may be forged. kInvalid: it is none of that; kNoSpace: it cannot be mapped; each with one
  // sentence. The stager outlives it.
  virtual Result<std::unique_ptr<ImportedMemory>> Import(Handle handle, std::uint64_t bytes) = 0;

  // Why copies fail: one sentence; empty while they do not.
  virtual std::string failure() const { return {}; }
};

}  // namespace kvpool::gpu
