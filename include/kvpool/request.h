// Requests: what a channel is asked to do. The caller owns them; see kvpool/channel.h.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kvpool/key.h"
#include "kvpool/status.h"

namespace kvpool {

enum class MemoryKind : std::uint8_t {
  kHost,
  kGpu,  // an address of the memory of a GPU that the pool file names
};

// A run of bytes that a request reads from or writes into. Not owned. Those of one request that are
// on a GPU are all on the same one. What a put reads there has to be final for every stream when it
// is submitted; what a get has brought is in place for every stream.
struct Segment {
  std::byte* data = nullptr;
  std::uint64_t bytes = 0;
  MemoryKind kind = MemoryKind::kHost;
};

// The background gets the time of the devices that other requests leave, and every twentieth I/O
// where they leave none: for prefetching and warming up.
enum class Priority : std::uint8_t { kForeground, kBackground };

// What every request has. With a daemon's pool any of its keys can end with kCancelled: the daemon
// went away; and but for a get with kForbidden: the space is another tenant's. The caller owns it
// and everything it points to, and leaves all of that alone from Submit until Poll hands it back.
// It may then be changed and submitted again. Threads: one at a time, except LayersReady of a get.
class Request {
 public:
  virtual ~Request() = default;

  Space space;
  std::span<const Key> keys;                          // at most 65,536
  std::optional<std::chrono::milliseconds> deadline;  // from Submit; the pool's setting if absent
  void* user = nullptr;                               // the caller's; never touched

  // One a key, valid once Poll has handed the request back.
  std::span<const Status> results() const { return results_; }
  Status result(std::size_t key) const { return results_[key]; }

 protected:
  friend class RequestAccess;  // the pool's engine
  std::vector<Status> results_;
  void* operation_ = nullptr;
};

// Stores blocks that are absent (put-if-absent). Results: kOk, kExists (stored already, or being
// stored by another request), kDeclined (the admission policy wants to see the key once more
// first), kNoSpace, kInvalid, kIoError, kTimedOut, kUnsupported (`durable` without a catalog).
// Completes when the blocks are visible to Match and get; with `durable`, when they would survive a
// crash; one that ends with kIoError or kTimedOut may have left blocks that are visible, and become
// durable later.
class PutRequest : public Request {
 public:
  // The same number of segments for every key, in key order: keys.size() * m of them. A block is
  // the concatenation of its m segments. Any length, any alignment; 4 KiB-aligned pool memory is
  // written without a copy.
  std::span<const Segment> from;

  // Where the keys stand in their context, if known: keys[i] is block ordinal + i, and its parent
  // is keys[i - 1]; `parent` (empty: none) is the parent of keys[0]. Absent: every key is a chain
  // of its own.
  std::optional<std::uint64_t> ordinal;
  Key parent;

  // Places the blocks on drives only, and completes when drives and catalog would bring them back
  // after a power cut. Does not change a block that exists. Never declined.
  bool durable = false;

  Priority priority = Priority::kForeground;
};

// Brings blocks back. Results: kOk, kNotFound (absent, evicted, failed verification or failed
// device: recompute it), kInvalid (segments smaller than the block), kTimedOut, kIoError (the GPU
// failed the copy; the block is still there). The bytes behind a key that is not kOk are undefined.
// Into a GPU's memory: what lies in memory is copied there from where it lies, what lies on drives
// by way of pinned staging, each piece as soon as it has come and was verified. Copies that a GPU
// has been given cannot be cancelled: a request waits for these beyond its deadline.
class GetRequest : public Request {
 public:
  std::span<const Segment> into;  // as PutRequest::from; a block may be shorter than its segments

  // Hands out memory-resident units in place, without a copy: views(i) then points into the pool,
  // read-only, until Channel::Release(get). Units on drives still land in `into`, which is host
  // memory then, and so does what a daemon does not lease to its client (docs/daemon.md): then
  // `into` has room for whole blocks.
  bool lease = false;

  Priority priority = Priority::kForeground;

  // Layers 0..n-1 of all keys are in place (or known to be missing, which results() tells at the
  // end). Threads: any, while the request is in flight or done.
  std::uint32_t LayersReady() const {
    const auto* progress = progress_.load(std::memory_order_acquire);
    return (progress != nullptr ? *progress : layers_ready_).load(std::memory_order_acquire);
  }

  // The bytes of a key that is kOk, in order. With `lease` only; valid until Release.
  std::span<const Segment> views(std::size_t key) const {
    return {views_.data() + view_begin_[key], view_begin_[key + 1] - view_begin_[key]};
  }
  // The stored length of a key that is kOk.
  std::uint64_t block_bytes(std::size_t key) const { return block_bytes_[key]; }

 private:
  friend class RequestAccess;
  std::atomic<std::uint32_t> layers_ready_{0};
  std::atomic<const std::atomic<std::uint32_t>*> progress_{nullptr};
  std::atomic<std::uint32_t>* mirror_ = nullptr;
  std::vector<Segment> views_;
  std::vector<std::size_t> view_begin_;
  std::vector<std::uint64_t> block_bytes_;
};

// Removes blocks. Results: kOk, kNotFound. Their space is free once no get still reads it.
class DropRequest : public Request {};

// Completes when every named block that is present is durable: units that lie in memory only are
// written to drives first. No keys: all that was put before, with one result for the whole.
// Results: kOk, kNotFound, kIoError, kTimedOut (drives had no room for the units in memory, or no
// time), kUnsupported (there is no catalog).
class FlushRequest : public Request {};

}  // namespace kvpool
