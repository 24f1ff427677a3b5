// CopyQueue: one lane's copies to and from one GPU.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "gpu/stager.h"
#include "pool/gpu_link.h"
#include "pool/operation.h"

namespace kvpool::pool {

class LaneQueue;

// What a queue of the lane has copied. Reused: its runs keep their memory.
struct GpuCopy {
  gpu::Copy copy;  // its user is this
  std::vector<gpu::Run> runs;
  std::uint64_t bytes = 0;
  std::int64_t deadline_ns = 0;
  LaneQueue* owner = nullptr;  // is told at the end, by LaneQueue::Copied
  void* transfer = nullptr;    // a put's, which goes on then; null: a get's units end then:
  DeviceBatch* batch = nullptr;
  std::uint32_t first = 0;  // positions in the batch
  std::uint32_t count = 0;
  std::byte* staging = nullptr;  // where they come from, if it is that
};

// Copies go in the order in which they came, of gets and puts each. Threads: the lane's.
class CopyQueue {
 public:
  // The link outlives it.
  CopyQueue(std::unique_ptr<gpu::Queue> queue, GpuLink& link);
  ~CopyQueue();  // nothing may be in flight

  GpuLink& link() { return link_; }
  // False: there is enough in it to keep the link busy, and what is more would only wait here.
  bool HasRoom() const { return bytes_ < link_.enough_bytes(); }
  // Bytes that a device is asked for, which are added when it has them: as if they were here
  // already. Came: it has them, or never will.
  void Expect(std::uint64_t bytes) { Count(bytes); }
  void Came(std::uint64_t bytes) { Discount(bytes); }
  // One at rest, to be filled in: its runs, owner and what the owner wants to know.
  GpuCopy& Take();
  void Add(GpuCopy& copy, gpu::Direction direction);

  // Hands copies to the GPU and tells the owners of those that have ended. True when anything
  // moved.
  bool Step(std::int64_t now_ns);
  // When Step should run again; gpu::Queue::kNever while there is nothing in it.
  std::int64_t NextStepNs() const { return queue_->NextPollNs(); }

 private:
  bool EndUnsubmitted(std::int64_t now_ns);
  bool Submit();
  bool Collect();
  void End(GpuCopy& copy);
  void Count(std::uint64_t bytes);
  void Discount(std::uint64_t bytes);

  const std::unique_ptr<gpu::Queue> queue_;
  GpuLink& link_;
  std::vector<std::unique_ptr<GpuCopy>> all_;
  std::vector<GpuCopy*> resting_;
  std::deque<GpuCopy*> waiting_;  // the GPU's queue has no room for them yet
  std::uint64_t bytes_ = 0;       // to the GPU: expected, waiting and under way
};

}  // namespace kvpool::pool
