#include "pool/recorder.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace kvpool::pool {
namespace {

constexpr std::chrono::seconds kInterval{1};
constexpr std::int64_t kFlushTimeoutNs = 10'000'000'000;

// One flush on a queue of its own, waited for.
Status FlushOne(device::Device& device, const Clock& clock) {
  const int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event_fd < 0) return Status::kIoError;
  Status status = Status::kIoError;
  const std::int64_t until = clock.NowNs() + kFlushTimeoutNs;
  if (auto queue = device.OpenQueue({.event_fd = event_fd})) {
    device::Io io;
    io.op = device::Op::kFlush;
    device::Io* submitted = &io;
    device::Io* done = nullptr;
    if ((*queue)->Submit({&submitted, 1}) == 1) {
      bool cancelled = false;
      while ((*queue)->Poll({&done, 1}) == 0) {
        const std::int64_t now = clock.NowNs();
        if (now >= until && !cancelled) {
          (*queue)->Cancel(io);
          cancelled = true;
        }
        const std::int64_t next = std::min({until, (*queue)->NextPollNs(), now + 100'000'000});
        pollfd event{event_fd, POLLIN, 0};
        poll(&event, 1, static_cast<int>(std::max<std::int64_t>(0, next - now) / 1'000'000 + 1));
        std::uint64_t count = 0;
        [[maybe_unused]] const ssize_t got = read(event_fd, &count, sizeof count);
      }
      status = io.status;
    }
  }
  close(event_fd);
  return status;
}

}  // namespace

Recorder::Recorder(Store& store, std::span<const std::unique_ptr<DeviceSlot>> slots,
                   std::unique_ptr<catalog::Catalog> catalog, const Clock& clock)
    : store_(store), slots_(slots), clock_(clock), catalog_(std::move(catalog)) {
  thread_ = std::thread([this] { Run(); });
}

Recorder::~Recorder() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Recorder::Add(Operation& operation, FlushSink& sink) {
  {
    std::lock_guard lock(mutex_);
    waiters_.push_back({&operation, &sink});
  }
  wake_.notify_one();
}

Result<std::uint32_t> Recorder::SpaceId(const SpaceSpec& spec) {
  std::lock_guard lock(catalog_mutex_);
  if (!catalog_) return store_.IdFor(spec);
  return catalog_->SpaceId(spec);
}

void Recorder::Run() {
  prctl(PR_SET_NAME, "kvpool-recorder");
  std::vector<Waiter> served;
  for (bool last = false; !last;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, kInterval, [this] { return stop_ || !waiters_.empty(); });
      std::swap(served, waiters_);
      last = stop_;
    }
    const Status status = Record();
    for (const Waiter& waiter : served) waiter.sink->Flushed(*waiter.operation, status);
    served.clear();
  }
}

Status Recorder::Record() {
  // What could not be recorded last time is still there, and comes first.
  store_.TakeChanges(changes_);
  // Nothing new is no reason to skip the drives: their units may still be in a volatile cache.
  const Status flushed = FlushDrives();
  if (flushed != Status::kOk || changes_.empty() || !catalog_) return flushed;
  std::lock_guard lock(catalog_mutex_);
  const auto applied = catalog_->Apply(changes_);
  if (!applied) {
    if (!failing_) std::fprintf(stderr, "kvpool: %s\n", applied.error().message.c_str());
    failing_ = true;
    return applied.error().status;
  }
  failing_ = false;
  changes_.clear();
  return flushed;
}

Status Recorder::FlushDrives() {
  Status status = Status::kOk;
  for (const auto& slot : slots_) {
    if (slot->volatile_bytes) continue;
    const std::uint64_t written = slot->bytes_written.load();
    if (written == slot->bytes_flushed.load()) continue;
    const Status one = FlushOne(*slot->device, clock_);
    if (one == Status::kOk) {
      slot->bytes_flushed.store(written);
    } else {
      status = one;
    }
  }
  return status;
}

}  // namespace kvpool::pool
