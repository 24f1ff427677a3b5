// Lane: one thread's queues, one per device it serves. The unit of execution.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/log_event.h"
#include "base/mutex.h"
#include "gpu/stager.h"
#include "kvpool/result.h"
#include "mem/registered_memory.h"
#include "pool/copy_queue.h"
#include "pool/device_slot.h"
#include "pool/lane_queue.h"
#include "pool/operation.h"

namespace kvpool::pool {

struct LaneOptions {
  const Log* log = nullptr;  // outlives the lane
  const Clock* clock = nullptr;
  bool verify = true;
  mem::RegisteredMemory* registered = nullptr;  // outlives the lane
  mem::Detacher* detacher = nullptr;            // as LaneQueue's; outlives the lane
  std::span<std::byte> staging = {};            // outlives the lane; none: it makes its own
  std::span<const std::shared_ptr<gpu::Stager>> gpus = {};  // outlive the lane
  std::span<const std::unique_ptr<GpuLink>> links = {};     // theirs; outlive the lane
};

// Threads: Give from any; Step and Sleep from one.
class Lane {
 public:
  // `devices`: what it serves, by index into `slots`.
  static Result<std::unique_ptr<Lane>> Make(const LaneOptions& options,
                                            std::span<const std::unique_ptr<DeviceSlot>> slots,
                                            std::span<const std::size_t> devices);
  ~Lane();  // stops the thread; nothing may be in flight

  // Hands over a batch of a device that this lane serves. The caller has counted the lane in
  // Operation::AddLane.
  void Give(DeviceBatch& batch);

  // Has every queue take in what changed in the registered memory: the next transfer shall not pay
  // for it. Its thread runs. Await: until it has.
  void TakeInMemory();
  void AwaitMemory() const { memory_changed_.wait(true); }

  // One round over inbox and queues. True when anything moved.
  bool Step();
  // Sleeps until an event, the next timed step, `until_ns`, or `other_fd` (-1: none) is readable.
  void Sleep(std::int64_t until_ns, int other_fd = -1);
  // When Step should run again without an event; device::Queue::kNever if only after one.
  std::int64_t NextStepNs() const;
  bool Idle() const;  // threads: its own

  // Runs Step and Sleep on a thread of its own, until destruction.
  void StartThread();
  std::int32_t thread_id() const { return thread_id_.load(); }
  // Time its thread spent looking in vain, for devices that are found finished by polling only.
  std::int64_t spin_ns() const { return spin_ns_.load(std::memory_order_relaxed); }

 private:
  explicit Lane(const LaneOptions& options);
  Result<void> OpenCopyQueues();
  Result<std::unique_ptr<LaneQueue>> OpenQueue(DeviceSlot& slot);
  void TakeInDevices();
  void Run();
  void CountSpin(bool moved);
  void Wake();

  const LaneOptions options_;
  int event_fd_ = -1;
  std::unique_ptr<Staging> staging_;
  std::vector<std::unique_ptr<CopyQueue>> copies_;  // by GPU
  std::span<const std::unique_ptr<DeviceSlot>> slots_;
  std::vector<std::unique_ptr<LaneQueue>> queues_;  // by device index; null where not served
  bool held_ = false;  // a device that was replaced holds on to staging and eventfd

  Mutex mutex_;
  std::vector<DeviceBatch*> inbox_ KVPOOL_GUARDED_BY(mutex_);
  std::atomic<bool> inbox_filled_{false};
  std::atomic<bool> memory_changed_{false};
  std::vector<DeviceBatch*> taken_;

  std::atomic<bool> stop_{false};
  std::atomic<std::int32_t> thread_id_{0};
  std::atomic<std::int64_t> spin_ns_{0};
  std::int64_t looked_ns_ = 0;  // when it last looked in vain; 0: it did not
  std::thread thread_;
};

// Hands the operation's batches to the lanes that serve their devices. It has units.
void GiveToLanes(Operation& operation, std::span<const std::vector<Lane*>> lanes_of_device);

}  // namespace kvpool::pool
