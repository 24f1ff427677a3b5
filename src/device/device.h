// Device, Queue, Io: one module of the pool and one thread's path to it. Has never heard of a key.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>

#include "kvpool/result.h"
#include "kvpool/status.h"
#include "mem/lent_memory.h"
#include "mem/registered_memory.h"

namespace kvpool::device {

enum class Op : std::uint8_t {
  kRead,
  kWrite,
  kFlush,
  kLend,  // a mapped device's bytes, used where they lie: nothing moves, a slow device takes its
          // time
};

// The bits of an owner's number (Io::owner) above these say of which party it is, where owners share
// what there is for a few: a SharedLimit.
constexpr std::uint32_t kOwnerBits = 24;
constexpr std::uint32_t PartyOf(std::uint32_t owner) { return owner >> kOwnerBits; }

// One read, write, flush or loan. The submitter owns it, its segments and their memory, and leaves
// them alone from Submit until Poll hands it back.
struct Io {
  Op op = Op::kRead;
  Status status = Status::kOk;      // out: kOk, kIoError, kCancelled, kInvalid
  std::uint64_t offset = 0;         // bytes from the device's start
  std::uint32_t bytes = 0;          // the sum of the segments, > 0; 0 for a flush; lent
  std::uint32_t owner = 0;          // whose bytes a write brings, for Device::Lent; 0: nobody's
  std::span<const iovec> segments;  // where the bytes land or come from; none to lend
  void* user = nullptr;             // the submitter's
  // The queues' own, between Submit and Poll. Wrappers pass an Io on, so each field has one owner:
  Io* queue_next = nullptr;          // the queue that holds it in a list
  std::int64_t queue_due_ns = 0;     // the slow wrapper
  std::uint32_t queue_progress = 0;  // the back end
};

// What a submitter must respect, and what a pool wants to know.
struct Traits {
  std::string name;
  std::string kind;                  // "memory", "file", "block", "nvme", "spdk"
  std::string description;           // the path taken and why, for people
  std::uint64_t capacity_bytes = 0;  // what Ios may touch; a drive's label lies outside of it
  std::uint32_t alignment = 4096;    // of offsets, lengths and addresses; 1: none
  std::uint32_t max_io_bytes = 1 << 20;
  std::uint32_t max_segments = 64;
  std::uint32_t depth = 32;  // I/Os in flight that saturate it
  int numa_node = -1;
  bool mapped = false;          // the processor can address its bytes: Device::Map
  bool needs_polling = false;   // completions are found by Poll only; no event wakes the lane
  bool volatile_bytes = false;  // nothing survives the process
  // A late transfer goes by addresses and not by pages that are held (Queue::HoldsPages), as where
  // a thread copies: whoever may have to give up a read gives it memory that can stay behind.
  bool late_by_address = false;
};

struct QueueOptions {
  // An eventfd that the queue adds to when Poll may have something; -1: the owner polls. Whoever
  // waits for it polls until Poll gives less than was asked, and takes EINTR as a wake-up: the
  // kernel finishes transfers on the waiting thread.
  int event_fd = -1;
  // Where most transfers go; outlives the queue. A device that can makes them cheaper there; null:
  // nothing is known of them.
  const mem::RegisteredMemory* registered = nullptr;
};

// One thread's path to one device. Threads: one.
class Queue {
 public:
  virtual ~Queue() = default;  // nothing may be in flight

  // Takes the first n of `ios` and returns n; fewer than given when the queue is full. An Io with
  // bad bounds, alignment or sizes is taken and completes with kInvalid.
  virtual std::size_t Submit(std::span<Io* const> ios) = 0;

  // Hands back up to done.size() finished Ios. Does not wait. A short transfer never shows: it is
  // completed or becomes kIoError. A flush that is kOk covers the writes handed back before it was
  // submitted.
  virtual std::size_t Poll(std::span<Io*> done) = 0;

  // Asks that `io`, in flight, end soon. It still comes back by Poll, exactly once, with whatever
  // became of it, and only when no device can touch its memory any more.
  virtual void Cancel(Io& io) = 0;

  // Of an Io that Cancel was asked for and that has not come back: whatever the device does with it
  // from now on, it does to pages that it holds already, and it looks for none at an address. Then
  // the memory is safe with other pages behind its addresses (mem/detacher.h). False: not known.
  virtual bool HoldsPages(const Io& /*io*/) const { return false; }

  // When Poll may next have something without an event: kNever, or a time of the queue's clock.
  // A time in the past means now.
  virtual std::int64_t NextPollNs() const { return kNever; }
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
};

// Threads: any; outlives its queues.
class Device {
 public:
  virtual ~Device() = default;
  virtual const Traits& traits() const = 0;
  virtual Result<std::unique_ptr<Queue>> OpenQueue(const QueueOptions& options) = 0;

  // The address of `offset` on a mapped device; nullptr on others. Contiguous up to the end of the
  // slab of kSlabBytes, and the same until bytes of another owner are written there.
  virtual std::byte* Map(std::uint64_t /*offset*/) { return nullptr; }

  // Memory that holds bytes of this owner alone, each at its offset on the device, for other
  // processes to map; every byte that Map finds within it is there. Slabs are an owner's whole: who
  // writes for another one has nothing of the former's there any more. Null: there is none.
  virtual const mem::LentMemory* Lent(std::uint32_t /*owner*/) { return nullptr; }
  // Gives back what those who have it mapped made there, by reading where nothing is.
  virtual void TrimLent(std::uint32_t /*owner*/) {}
  // The owner has no bytes here any more, and nobody reads or writes any of its own: what it had is
  // nobody's. Its number may become another's, who gets other memory: this one may still be mapped.
  virtual void ForgetOwner(std::uint32_t /*owner*/) {}
};

}  // namespace kvpool::device
