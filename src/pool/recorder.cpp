#include "pool/recorder.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <iterator>
#include <unordered_set>
#include <utility>

namespace kvpool::pool {
namespace {

constexpr std::int64_t kIntervalNs = 1'000'000'000;
constexpr std::int64_t kLookNs = 100'000'000;  // at a flush, event or none
constexpr std::int64_t kPauseNs = 1'000'000;   // between looks at a drive that needs polling
constexpr std::int64_t kWearIntervalNs = 5'000'000'000;

}  // namespace

void LogOnStderr(const LogEvent& event) {
  std::fprintf(stderr, "kvpool: %s\n", event.message.c_str());
}

std::int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Recorder::Recorder(Store& store, std::span<const std::unique_ptr<DeviceSlot>> slots,
                   std::unique_ptr<catalog::Catalog> catalog, const Clock& clock, Log log)
    : store_(store),
      slots_(slots),
      clock_(clock),
      log_(std::move(log)),
      catalog_(std::move(catalog)),
      next_ns_(clock.NowNs() + kIntervalNs) {
  // Whoever opens a pool without a drive says so in its own words.
  for (const auto& slot : slots) drains_.push_back(slot->health.drains());
}

Result<std::unique_ptr<Recorder>> Recorder::Make(Store& store,
                                                 std::span<const std::unique_ptr<DeviceSlot>> slots,
                                                 std::unique_ptr<catalog::Catalog> catalog,
                                                 const Clock& clock, Log log) {
  std::unique_ptr<Recorder> recorder(
      new Recorder(store, slots, std::move(catalog), clock, std::move(log)));
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
  // What a drive holds goes on writing to the eventfd: its number must not become another file's.
  const auto is_held = [](const auto& flush) { return flush->held(); };
  const bool held = std::any_of(flushes_.begin(), flushes_.end(), is_held) ||
                    std::any_of(held_.begin(), held_.end(), is_held);
  flushes_.clear();
  held_.clear();
  if (event_fd_ >= 0 && !held) close(event_fd_);
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

Result<Space> Recorder::OpenSpace(const SpaceSpec& spec) {
  std::lock_guard lock(catalog_mutex_);
  const auto id = catalog_ ? catalog_->SpaceId(spec) : Result<std::uint32_t>(store_.IdFor(spec));
  if (!id) return tl::unexpected(id.error());
  store_.OpenSpace(*id, spec);
  return Space{*id};
}

// Whoever drains a device is in the middle of something else.
void Recorder::LogDrains() {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Health& health = slots_[i]->health;
    const std::uint64_t drains = health.drains();
    if (std::exchange(drains_[i], drains) == drains) continue;
    const std::string& name = slots_[i]->config.name;
    const std::string reason = health.reason();
    log_({.level = LogLevel::kError,
          .event = "device_drained",
          .message = fmt::format("device \"{}\" does not serve: {}", name, reason),
          .fields = {{"device", name}, {"reason", reason}}});
  }
}

bool Recorder::Step() {
  if (stopped_) return false;
  LogDrains();
  if (store_.SweepGone()) return true;  // there is more
  const bool expired = ExpireWaiters();
  const bool begun = !recording_ && Begin();
  if (!recording_ || !StepFlushes()) return begun || expired;
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
  for (std::string& remark : store_.TakeRemarks()) {
    log_({.level = LogLevel::kWarning, .event = "pool", .message = std::move(remark)});
  }
  // What could not be recorded last time is still there, and comes first.
  store_.TakeChanges(changes_);
  // Nothing new is no reason to skip the drives: their units may still be in a volatile cache.
  StartFlushes();
  return true;
}

void Recorder::StartFlushes() {
  const std::int64_t now_ns = clock_.NowNs();
  std::erase_if(held_, [&](const auto& flush) { return flush->Step(now_ns) && !flush->held(); });
  unflushed_ = 0;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    DeviceSlot& slot = *slots_[i];
    if (slot.volatile_bytes || slot.bytes_written.load() == slot.bytes_flushed.load()) continue;
    const bool stuck = std::any_of(held_.begin(), held_.end(), [&](const auto& flush) {
      return flush->device() == slot.device.get();
    });
    if (stuck || !slot.serves()) {
      unflushed_ |= std::uint64_t{1} << i;
    } else {
      flushes_.push_back(std::make_unique<DriveFlush>(slot, now_ns, event_fd_));
    }
  }
}

void Recorder::TakeFailure(DriveFlush& flush) {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    DeviceSlot& slot = *slots_[i];
    if (&slot != &flush.slot()) continue;
    unflushed_ |= std::uint64_t{1} << i;
    if (!flush.held()) {
      slot.health.Failed(slot.moved_bytes());
    } else {
      slot.health.Drain("it does not answer a flush: look for it in the kernel's log, replace it");
    }
  }
}

// True once all drives have answered, or have had their time. Nobody waits for one that is drained
// meanwhile.
bool Recorder::StepFlushes() {
  const std::int64_t now_ns = clock_.NowNs();
  for (auto& flush : flushes_) {
    if (!flush->Step(now_ns) && flush->slot().serves()) continue;
    if (flush->held() || flush->status() != Status::kOk) TakeFailure(*flush);
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
  for (const Waiter& waiter : served_) Settle(waiter, status);
  served_.clear();
  RecordWear();
}

// Of a put, only the blocks with units on a drive that was not flushed have failed. What a flush
// asks for is durable, or has gone with a drained drive, unless another drive failed.
void Recorder::Settle(const Waiter& waiter, Status status) {
  Operation& operation = *waiter.operation;
  for (std::size_t i = 0; i < slots_.size() && status == Status::kOk; ++i) {
    if ((unflushed_ >> i & 1) == 0) continue;
    if (operation.kind != OperationKind::kPut) {
      if (slots_[i]->serves()) status = Status::kIoError;
      continue;
    }
    for (const UnitWork& work : operation.units[i]) {
      if (operation.KeyStatus(work.key) == Status::kOk) {
        operation.SetKeyStatus(work.key, Status::kIoError);
      }
    }
  }
  waiter.sink->Flushed(operation, status);
}

// A request ends at its deadline also where a drive holds the recording up.
bool Recorder::ExpireWaiters() {
  const std::int64_t now_ns = clock_.NowNs();
  std::vector<Waiter> expired;
  const auto take = [&](std::vector<Waiter>& waiters) {
    std::erase_if(waiters, [&](const Waiter& waiter) {
      if (now_ns < waiter.operation->deadline_ns) return false;
      expired.push_back(waiter);
      return true;
    });
  };
  if (recording_) {
    take(served_);
    MutexLock lock(mutex_);
    take(waiters_);
  }
  for (const Waiter& waiter : expired) {
    waiter.sink->Flushed(*waiter.operation, Status::kTimedOut);
  }
  return !expired.empty();
}

// Takes out of `changes_` what must not be recorded now: a row never names bytes that are not
// there. Rows of blocks on a drive that is gone are not wanted any more.
void Recorder::KeepBack() {
  std::uint64_t gone = 0;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i]->serves()) gone |= std::uint64_t{1} << i;
  }
  std::unordered_set<std::uint64_t> generations;
  std::erase_if(changes_, [&](catalog::Change& change) {
    std::uint64_t on = 0;
    for (const layout::UnitRecord& unit : change.row.units) on |= std::uint64_t{1} << unit.device();
    const bool added = change.kind == catalog::Change::Kind::kAdd;
    if (added && (on & gone) != 0) return true;
    if (added && (on & unflushed_) != 0) generations.insert(change.row.generation);
    if (!generations.contains(change.row.generation)) return false;
    kept_back_.push_back(std::move(change));
    return true;
  });
}

Status Recorder::Apply() {
  std::lock_guard lock(catalog_mutex_);
  if (unflushed_ != 0) KeepBack();
  if (!catalog_) {
    ForgetSpaces();
    return Status::kOk;
  }
  auto applied = catalog_->CheckThere();
  if (applied && !changes_.empty()) applied = catalog_->Apply(changes_);
  if (!applied) {
    if (!failing_) {
      log_({.level = LogLevel::kError, .event = "pool", .message = applied.error().message});
    }
    failing_ = true;
    changes_.insert(changes_.end(), std::make_move_iterator(kept_back_.begin()),
                    std::make_move_iterator(kept_back_.end()));
    kept_back_.clear();
    return Status::kIoError;
  }
  failing_ = false;
  changes_.clear();
  changes_.swap(kept_back_);
  if (changes_.empty()) ForgetSpaces();
  return Status::kOk;
}

// What fails is tried again by the next recording, which says what is wrong with the catalog.
void Recorder::ForgetSpaces() {
  const std::vector<std::uint32_t> idle = store_.IdleSpaces();
  if (idle.empty() || (catalog_ && !catalog_->Forget(idle))) return;
  store_.RemoveSpaces(idle);
}

// After whoever waited was served. What fails is tried again: counting late costs little.
void Recorder::RecordWear() {
  const std::int64_t now_ns = clock_.NowNs();
  if (!catalog_ || (!last_ && now_ns - wear_ns_ < kWearIntervalNs)) return;
  std::vector<catalog::WearRow> rows = store_.Wear(UnixSeconds());
  std::erase_if(rows, [](const catalog::WearRow& row) { return row.device_id == 0; });
  const bool same = std::equal(rows.begin(), rows.end(), wear_.begin(), wear_.end(),
                               [](const catalog::WearRow& a, const catalog::WearRow& b) {
                                 return a.bytes_written == b.bytes_written;
                               });
  wear_ns_ = now_ns;
  if (rows.empty() || (same && !last_)) return;
  std::lock_guard lock(catalog_mutex_);
  if (catalog_->RecordWear(rows)) wear_ = std::move(rows);
}

std::int64_t Recorder::NextStepNs() {
  if (stopped_) return device::Queue::kNever;
  if (recording_) {
    std::int64_t next_ns = clock_.NowNs() + kLookNs;
    for (const Waiter& waiter : served_) next_ns = std::min(next_ns, waiter.operation->deadline_ns);
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
