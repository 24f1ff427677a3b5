#include "pool/recorder.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace kvpool::pool {
namespace {

constexpr std::int64_t kIntervalNs = 1'000'000'000;
constexpr std::int64_t kLookNs = 100'000'000;  // at a flush, event or none
constexpr std::int64_t kPauseNs = 1'000'000;   // between looks at a drive that needs polling

}  // namespace

void SayOnStderr(const std::string& sentence) {
  std::fprintf(stderr, "kvpool: %s\n", sentence.c_str());
}

Recorder::Recorder(Store& store, std::span<const std::unique_ptr<DeviceSlot>> slots,
                   std::unique_ptr<catalog::Catalog> catalog, const Clock& clock, Say say)
    : store_(store),
      slots_(slots),
      clock_(clock),
      say_(std::move(say)),
      catalog_(std::move(catalog)),
      next_ns_(clock.NowNs() + kIntervalNs) {}

Result<std::unique_ptr<Recorder>> Recorder::Make(Store& store,
                                                 std::span<const std::unique_ptr<DeviceSlot>> slots,
                                                 std::unique_ptr<catalog::Catalog> catalog,
                                                 const Clock& clock, Say say) {
  std::unique_ptr<Recorder> recorder(
      new Recorder(store, slots, std::move(catalog), clock, std::move(say)));
  recorder->event_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (recorder->event_fd_ < 0) {
    return Fail(Status::kIoError, "no eventfd could be made: raise the open file limit (ulimit -n)",
                errno);
  }
  return recorder;
}

Recorder::~Recorder() {
  if (thread_.joinable()) {
    Stop();
    thread_.join();
  }
  flushes_.clear();
  held_.clear();
  if (event_fd_ >= 0) close(event_fd_);
}

void Recorder::StartThread() {
  thread_ = std::thread([this] {
    prctl(PR_SET_NAME, "kvpool-recorder");
    while (!stopped_) {
      if (!Step()) Sleep();
    }
  });
}

void Recorder::Add(Operation& operation, FlushSink& sink) {
  {
    MutexLock lock(mutex_);
    waiters_.push_back({&operation, &sink});
  }
  Wake();
}

void Recorder::Stop() {
  {
    MutexLock lock(mutex_);
    stop_ = true;
  }
  Wake();
}

void Recorder::Wake() {
  const std::uint64_t one = 1;
  // A full counter is readable all the same.
  [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof one);
}

Result<std::uint32_t> Recorder::SpaceId(const SpaceSpec& spec) {
  std::lock_guard lock(catalog_mutex_);
  if (!catalog_) return store_.IdFor(spec);
  return catalog_->SpaceId(spec);
}

bool Recorder::Step() {
  if (stopped_) return false;
  if (store_.SweepDrained()) return true;  // there is more
  const bool begun = !recording_ && Begin();
  if (!recording_ || !StepFlushes()) return begun;
  End();
  return true;
}

bool Recorder::Begin() {
  {
    MutexLock lock(mutex_);
    if (waiters_.empty() && !stop_ && clock_.NowNs() < next_ns_) return false;
    std::swap(served_, waiters_);
    last_ = stop_;
  }
  recording_ = true;
  // What could not be recorded last time is still there, and comes first.
  store_.TakeChanges(changes_);
  // Nothing new is no reason to skip the drives: their units may still be in a volatile cache.
  StartFlushes();
  return true;
}

void Recorder::StartFlushes() {
  const std::int64_t now_ns = clock_.NowNs();
  std::erase_if(held_, [&](const auto& flush) { return flush->Step(now_ns) && !flush->held(); });
  flushed_ = Status::kOk;
  for (const auto& slot : slots_) {
    if (slot->volatile_bytes || slot->bytes_written.load() == slot->bytes_flushed.load()) continue;
    const bool stuck = std::any_of(held_.begin(), held_.end(),
                                   [&](const auto& flush) { return &flush->slot() == slot.get(); });
    if (stuck) {
      flushed_ = Status::kIoError;
    } else {
      flushes_.push_back(std::make_unique<DriveFlush>(*slot, now_ns, event_fd_));
    }
  }
}

// True once all drives have answered, or have had their time.
bool Recorder::StepFlushes() {
  const std::int64_t now_ns = clock_.NowNs();
  for (auto& flush : flushes_) {
    if (!flush->Step(now_ns)) continue;
    if (flush->status() != Status::kOk) flushed_ = flush->status();
    if (flush->held()) held_.push_back(std::move(flush));
    flush.reset();
  }
  std::erase(flushes_, nullptr);
  return flushes_.empty();
}

void Recorder::End() {
  const Status status = Apply();
  recording_ = false;
  stopped_ = last_;
  next_ns_ = clock_.NowNs() + kIntervalNs;
  for (const Waiter& waiter : served_) waiter.sink->Flushed(*waiter.operation, status);
  served_.clear();
}

Status Recorder::Apply() {
  std::lock_guard lock(catalog_mutex_);
  if (flushed_ != Status::kOk || !catalog_) return flushed_;
  auto applied = catalog_->CheckThere();
  if (applied && !changes_.empty()) applied = catalog_->Apply(changes_);
  if (!applied) {
    if (!failing_) say_(applied.error().message);
    failing_ = true;
    return Status::kIoError;
  }
  failing_ = false;
  changes_.clear();
  return Status::kOk;
}

std::int64_t Recorder::NextStepNs() {
  if (stopped_) return device::Queue::kNever;
  if (recording_) {
    std::int64_t next_ns = clock_.NowNs() + kLookNs;
    for (const auto& flush : flushes_) next_ns = std::min(next_ns, flush->NextStepNs());
    return next_ns;
  }
  MutexLock lock(mutex_);
  return stop_ || !waiters_.empty() ? 0 : next_ns_;
}

bool Recorder::Idle() {
  MutexLock lock(mutex_);
  return !recording_ && waiters_.empty();
}

void Recorder::Sleep() {
  std::int64_t wait_ns = std::max<std::int64_t>(0, NextStepNs() - clock_.NowNs());
  if (recording_) wait_ns = std::max(wait_ns, kPauseNs);
  const timespec timeout{wait_ns / 1'000'000'000, wait_ns % 1'000'000'000};
  pollfd event{event_fd_, POLLIN, 0};
  if (ppoll(&event, 1, &timeout, nullptr) > 0) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(event_fd_, &count, sizeof count);
  }
}

}  // namespace kvpool::pool
