#include "pool/lane.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/keep.h"

namespace kvpool::pool {
namespace {

constexpr std::uint32_t kStagingBuffers = 16;
// Where all that drives read goes through it, on its way to a GPU.
constexpr std::uint32_t kGpuStagingBuffers = 32;

std::uint32_t LargestIo(std::span<const std::unique_ptr<DeviceSlot>> slots,
                        std::span<const std::size_t> devices) {
  std::uint32_t largest = 1 << 20;
  for (const std::size_t device : devices) {
    largest = std::max(largest, slots[device]->device->traits().max_io_bytes);
  }
  return largest;
}

// Staging lies where the lane's devices do, if they agree on a node; else where the first GPU does.
int NodeOf(std::span<const std::unique_ptr<DeviceSlot>> slots, std::span<const std::size_t> devices,
           std::span<const std::shared_ptr<gpu::Stager>> gpus) {
  const int otherwise = gpus.empty() ? -1 : gpus.front()->traits().numa_node;
  int node = -1;
  for (const std::size_t device : devices) {
    const int one = slots[device]->device->traits().numa_node;
    if (node >= 0 && one != node) return otherwise;
    node = one;
  }
  return node >= 0 ? node : otherwise;
}

}  // namespace

Lane::Lane(const LaneOptions& options) : options_(options) {}

Result<std::unique_ptr<Lane>> Lane::Make(const LaneOptions& options,
                                         std::span<const std::unique_ptr<DeviceSlot>> slots,
                                         std::span<const std::size_t> devices) {
  std::unique_ptr<Lane> lane(new Lane(options));
  lane->event_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (lane->event_fd_ < 0) {
    return Fail(Status::kIoError, "no eventfd could be made: raise the open file limit (ulimit -n)",
                errno);
  }
  auto staging =
      Staging::Make({.buffer_bytes = LargestIo(slots, devices),
                     .buffers = options.gpus.empty() ? kStagingBuffers : kGpuStagingBuffers,
                     .numa_node = NodeOf(slots, devices, options.gpus),
                     .memory = options.staging,
                     .registered = options.registered});
  if (!staging) return tl::unexpected(staging.error());
  lane->staging_ = std::move(*staging);
  if (auto opened = lane->OpenCopyQueues(); !opened) return tl::unexpected(opened.error());
  lane->slots_ = slots;
  lane->queues_.resize(slots.size());
  for (const std::size_t device : devices) {
    auto queue = lane->OpenQueue(*slots[device]);
    if (!queue) return tl::unexpected(queue.error());
    lane->queues_[device] = std::move(*queue);
  }
  return lane;
}

Result<void> Lane::OpenCopyQueues() {
  for (std::size_t i = 0; i < options_.gpus.size(); ++i) {
    auto queue = options_.gpus[i]->OpenQueue();
    if (!queue) return tl::unexpected(queue.error());
    copies_.push_back(std::make_unique<CopyQueue>(std::move(*queue), *options_.links[i]));
  }
  return {};
}

Result<std::unique_ptr<LaneQueue>> Lane::OpenQueue(DeviceSlot& slot) {
  auto queue = slot.device->OpenQueue({.event_fd = event_fd_, .registered = options_.registered});
  if (!queue) return tl::unexpected(queue.error());
  return std::make_unique<LaneQueue>(slot, std::move(*queue),
                                     LaneShared{.staging = staging_.get(),
                                                .detacher = options_.detacher,
                                                .copies = copies_,
                                                .verify = options_.verify,
                                                .log = options_.log});
}

// Before it gets anything to do on a device that stands in another's place. Where no queue can be
// opened, or the former device still has a transfer that is waited for, what it is given fails.
void Lane::TakeInDevices() {
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    if (!queues_[i] || !queues_[i]->Replaced()) continue;
    if (!queues_[i]->Idle()) queues_[i]->Step(options_.clock->NowNs());  // lets go of its batches
    if (!queues_[i]->Idle()) continue;
    held_ = held_ || queues_[i]->Awaits();
    auto queue = OpenQueue(*slots_[i]);
    if (queue) {
      queues_[i] = std::move(*queue);
    } else {
      slots_[i]->health.Drain(queue.error().message);
    }
  }
}

Lane::~Lane() {
  if (thread_.joinable()) {
    stop_.store(true);
    Wake();
    thread_.join();
  }
  const bool held = held_ || std::any_of(queues_.begin(), queues_.end(), [](const auto& queue) {
                      return queue && queue->Awaits();
                    });
  queues_.clear();
  if (held) {  // the eventfd stays open, too: its number must not become another file's
    KeepForEver(std::move(staging_));
  } else if (event_fd_ >= 0) {
    close(event_fd_);
  }
}

void Lane::Give(DeviceBatch& batch) {
  {
    MutexLock lock(mutex_);
    inbox_.push_back(&batch);
    inbox_filled_.store(true, std::memory_order_release);
  }
  Wake();
}

void Lane::TakeInMemory() {
  memory_changed_.store(true, std::memory_order_release);
  Wake();
}

void Lane::Wake() {
  const std::uint64_t one = 1;
  // A full counter is readable all the same.
  [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof one);
}

bool Lane::Step() {
  bool moved = false;
  if (inbox_filled_.load(std::memory_order_acquire)) {
    {
      MutexLock lock(mutex_);
      std::swap(taken_, inbox_);
      inbox_filled_.store(false, std::memory_order_relaxed);
    }
    TakeInDevices();
    for (DeviceBatch* batch : taken_) {
      LaneQueue& queue = *queues_[batch->device];
      queue.Replaced() ? queue.Refuse(*batch) : queue.Add(*batch);
    }
    taken_.clear();
    moved = true;
  }
  const bool all = memory_changed_.load(std::memory_order_acquire);
  for (const auto& queue : queues_) {
    if (queue && (all || !queue->Idle() || queue->Awaits()))
      moved |= queue->Step(options_.clock->NowNs());
  }
  // After the queues, which give them copies; what these free, staging above all, the next round
  // uses.
  for (const auto& copies : copies_) moved |= copies->Step(options_.clock->NowNs());
  if (all) {
    memory_changed_.store(false, std::memory_order_release);
    memory_changed_.notify_all();
  }
  return moved;
}

std::int64_t Lane::NextStepNs() const {
  if (inbox_filled_.load(std::memory_order_acquire)) return 0;
  std::int64_t next_ns = device::Queue::kNever;
  for (const auto& queue : queues_) {
    if (queue) next_ns = std::min(next_ns, queue->NextStepNs());
  }
  for (const auto& copies : copies_) next_ns = std::min(next_ns, copies->NextStepNs());
  return next_ns;
}

bool Lane::Idle() const {
  if (inbox_filled_.load(std::memory_order_acquire)) return false;
  return std::all_of(queues_.begin(), queues_.end(),
                     [](const auto& queue) { return !queue || queue->Idle(); });
}

void Lane::Sleep(std::int64_t until_ns, int other_fd) {
  const std::int64_t next_ns = std::min(until_ns, NextStepNs());
  timespec timeout{};
  if (next_ns != device::Queue::kNever) {
    const std::int64_t wait_ns = std::max<std::int64_t>(0, next_ns - options_.clock->NowNs());
    if (wait_ns == 0) return;
    timeout = {wait_ns / 1'000'000'000, wait_ns % 1'000'000'000};
  }
  pollfd events[2]{{event_fd_, POLLIN, 0}, {other_fd, POLLIN, 0}};  // -1 is passed over
  if (ppoll(events, 2, next_ns == device::Queue::kNever ? nullptr : &timeout, nullptr) > 0) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(event_fd_, &count, sizeof count);
  }
}

void Lane::StartThread() {
  thread_ = std::thread([this] { Run(); });
  thread_id_.wait(0);
}

void Lane::Run() {
  prctl(PR_SET_NAME, "kvpool-lane");
  prctl(PR_SET_TIMERSLACK, 1);  // a slow device's next step is a matter of microseconds
  thread_id_.store(gettid());
  thread_id_.notify_one();
  while (!stop_.load() || !Idle()) {
    const bool moved = Step();
    CountSpin(moved);
    if (!moved) Sleep(device::Queue::kNever);
  }
}

void Lane::CountSpin(bool moved) {
  const bool spins = !moved && std::any_of(queues_.begin(), queues_.end(), [](const auto& queue) {
    return queue && queue->Spins();
  });
  if (!spins) {
    looked_ns_ = 0;
    return;
  }
  const std::int64_t now_ns = options_.clock->NowNs();
  if (looked_ns_ != 0) spin_ns_.fetch_add(now_ns - looked_ns_, std::memory_order_relaxed);
  looked_ns_ = now_ns;
}

void GiveToLanes(Operation& operation, std::span<const std::vector<Lane*>> lanes_of_device) {
  // The last unit may be done before this loop ends: the count of lanes keeps the batches alive.
  operation.AddLane();
  for (DeviceBatch& batch : operation.batches()) {
    for (Lane* lane : lanes_of_device[batch.device]) {
      operation.AddLane();
      lane->Give(batch);
    }
  }
  operation.LetGo();
}

}  // namespace kvpool::pool
