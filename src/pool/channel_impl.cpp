#include "pool/channel_impl.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/limits.h"
#include "pool/segments.h"

namespace kvpool::pool {
namespace {

// Times beyond this are "for ever", and may be added to now without overflow.
constexpr std::int64_t kForeverNs = std::int64_t{1} << 61;

std::int64_t Nanoseconds(std::chrono::milliseconds time) {
  return std::clamp<std::int64_t>(time.count(), 0, kForeverNs / 1'000'000) * 1'000'000;
}

}  // namespace

Result<std::unique_ptr<Channel>> ChannelImpl::Make(ChannelParts parts) {
  std::unique_ptr<ChannelImpl> channel(new ChannelImpl(std::move(parts)));
  channel->event_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (channel->event_fd_ < 0) {
    return Fail(Status::kIoError, "no eventfd could be made: raise the open file limit (ulimit -n)",
                errno);
  }
  return std::unique_ptr<Channel>(std::move(channel));
}

ChannelImpl::~ChannelImpl() {
  Drain();
  for (Operation* lease : leases_) parts_.store->Unpin(*lease);
  parts_.own_lane.reset();
  if (event_fd_ >= 0) close(event_fd_);
}

// Waits until no lane knows any of the channel's operations any more.
void ChannelImpl::Drain() {
  Request* done[16];
  KVPOOL_CHECK(parts_.threads || in_flight_ == 0);
  while (in_flight_ != 0) {
    Wait(std::chrono::seconds(1));
    Poll(done);
  }
  for (const auto& operation : operations_) {
    while (!operation->Reusable()) {
      KVPOOL_CHECK(parts_.threads || parts_.own_lane);  // the pool is idle
      if (parts_.own_lane) parts_.own_lane->Step();
      std::this_thread::yield();
    }
  }
}

Status ChannelImpl::Admit(const Request& request, std::span<const Segment> segments) const {
  if (in_flight_ >= kMaxRequestsPerChannel) return Status::kBusy;
  if (request.keys.size() > kMaxBatchKeys || !parts_.store->HasSpace(request.space)) {
    return Status::kInvalid;
  }
  if (request.keys.empty()) return segments.empty() ? Status::kOk : Status::kInvalid;
  return segments.size() % request.keys.size() == 0 ? Status::kOk : Status::kInvalid;
}

// As Admit, and on which GPU the segments lie.
Status ChannelImpl::FindPlace(const Request& request, std::span<const Segment> segments,
                              int& gpu) const {
  const Status admitted = Admit(request, segments);
  return admitted == Status::kOk ? FindGpu(segments, parts_.gpus, gpu) : admitted;
}

Operation& ChannelImpl::Begin(OperationKind kind, Request& request) {
  const auto reusable = std::find_if(resting_.begin(), resting_.end(),
                                     [](const Operation* one) { return one->Reusable(); });
  Operation* operation = nullptr;
  if (reusable != resting_.end()) {
    operation = *reusable;
    resting_.erase(reusable);
  } else {
    operations_.push_back(std::make_unique<Operation>());
    operation = operations_.back().get();
  }
  operation->Reset(kind, request, parts_.devices);
  operation->sink = this;
  operation->flow = parts_.flow;
  const std::int64_t patience =
      request.deadline ? Nanoseconds(*request.deadline) : parts_.deadline_ns;
  operation->submitted_ns = parts_.clock->NowNs();
  operation->deadline_ns = operation->submitted_ns + patience;
  RequestAccess::OperationOf(request) = operation;
  ++in_flight_;
  return *operation;
}

void ChannelImpl::Dispatch(Operation& operation) {
  if (!operation.HasUnits()) return UnitsDone(operation);
  if (!parts_.own_lane) return GiveToLanes(operation, parts_.lanes_of_device);
  operation.AddLane();
  for (DeviceBatch& batch : operation.batches()) {
    operation.AddLane();
    parts_.own_lane->Give(batch);
  }
  operation.LetGo();
}

Status ChannelImpl::Submit(PutRequest& request) {
  int gpu = -1;
  const Status admitted = FindPlace(request, request.from, gpu);
  if (admitted != Status::kOk) return admitted;
  if (!request.keys.empty() && request.from.empty()) return Status::kInvalid;
  Operation& operation = Begin(OperationKind::kPut, request);
  operation.segments.assign(request.from.begin(), request.from.end());
  operation.gpu = gpu;
  operation.durable = request.durable;
  operation.priority = request.priority;
  parts_.store->PlanPut(request, operation);
  operation.Start(0);
  Dispatch(operation);
  return Status::kOk;
}

Status ChannelImpl::Submit(GetRequest& request) {
  int gpu = -1;
  const Status admitted = FindPlace(request, request.into, gpu);
  if (admitted != Status::kOk) return admitted;
  if (request.lease && gpu >= 0) return Status::kInvalid;
  Operation& operation = Begin(OperationKind::kGet, request);
  operation.segments.assign(request.into.begin(), request.into.end());
  operation.gpu = gpu;
  operation.lease = request.lease;
  operation.lease_budget = parts_.lease_budget;
  operation.priority = request.priority;
  parts_.store->PlanGet(request, operation);
  operation.Start(parts_.store->LayersOf(request.space));
  Dispatch(operation);
  return Status::kOk;
}

Status ChannelImpl::Submit(DropRequest& request) {
  const Status admitted = Admit(request, {});
  if (admitted != Status::kOk) return admitted;
  Operation& operation = Begin(OperationKind::kDrop, request);
  parts_.store->Drop(request, operation);
  operation.Start(0);
  Finish(operation);
  return Status::kOk;
}

Status ChannelImpl::Submit(FlushRequest& request) {
  const Status admitted = Admit(request, {});
  if (admitted != Status::kOk) return admitted;
  Operation& operation = Begin(OperationKind::kFlush, request);
  if (request.keys.empty()) RequestAccess::Results(request).assign(1, Status::kOk);
  const bool spilled = parts_.store->CheckFlush(request, operation);
  operation.Start(0);
  if (spilled) {
    parts_.recorder->Add(operation, *this);
  } else {
    parts_.mover->Add(operation, *this);
  }
  return Status::kOk;
}

void ChannelImpl::UnitsDone(Operation& operation) {
  if (operation.kind == OperationKind::kGet) {
    if (parts_.store->FinishGet(operation)) return Dispatch(operation);
    operation.EndLayers();
    parts_.gets->Add(operation, parts_.clock->NowNs());
  } else {
    parts_.store->FinishPut(operation);
    parts_.puts->Add(operation, parts_.clock->NowNs());
    parts_.mover->Wake();
    if (operation.durable) return parts_.recorder->Add(operation, *this);
  }
  Finish(operation);
}

void ChannelImpl::Flushed(Operation& operation, Status status) {
  for (Status& result : RequestAccess::Results(*operation.request)) {
    if (status == Status::kOk || result != Status::kOk) continue;
    result = status == Status::kTimedOut ? status : Status::kIoError;
  }
  Finish(operation);
}

void ChannelImpl::Finish(Operation& operation) {
  // Inside the lock, so that the channel cannot be gone between the entry and the signal.
  MutexLock lock(mutex_);
  done_.push_back(&operation);
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof one);
}

std::size_t ChannelImpl::Poll(std::span<Request*> done) {
  if (parts_.own_lane) parts_.own_lane->Step();
  if (ready_next_ == ready_.size()) {
    ready_.clear();
    ready_next_ = 0;
    MutexLock lock(mutex_);
    std::swap(ready_, done_);
  }
  std::size_t count = 0;
  for (; count < done.size() && ready_next_ < ready_.size(); ++count) {
    Operation& operation = *ready_[ready_next_++];
    done[count] = operation.request;
    --in_flight_;
    if (operation.lease) {
      parts_.store->FillViews(operation, static_cast<GetRequest&>(*operation.request));
      leases_.push_back(&operation);
    } else {
      resting_.push_back(&operation);
    }
  }
  if (count != 0 && ready_next_ == ready_.size()) ClearEvent();
  return count;
}

// The eventfd stays readable for as long as Poll has something.
void ChannelImpl::ClearEvent() {
  MutexLock lock(mutex_);
  if (!done_.empty()) return;
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(event_fd_, &count, sizeof count);
}

bool ChannelImpl::HasDone() {
  if (ready_next_ < ready_.size()) return true;
  MutexLock lock(mutex_);
  return !done_.empty();
}

bool ChannelImpl::Wait(std::chrono::nanoseconds timeout) {
  if (!parts_.threads) return HasDone();
  const std::int64_t until =
      parts_.clock->NowNs() + std::clamp<std::int64_t>(timeout.count(), 0, kForeverNs);
  for (;;) {
    if (HasDone()) return true;
    const std::int64_t left = until - parts_.clock->NowNs();
    if (left <= 0) return false;
    if (parts_.own_lane && parts_.own_lane->Step()) continue;
    if (parts_.own_lane && !parts_.own_lane->Idle()) {
      parts_.own_lane->Sleep(until, event_fd_);  // or the recorder ends something
      continue;
    }
    pollfd event{event_fd_, POLLIN, 0};
    const timespec wait{left / 1'000'000'000, left % 1'000'000'000};
    ppoll(&event, 1, &wait, nullptr);
  }
}

void ChannelImpl::Release(GetRequest& request) {
  auto* operation = static_cast<Operation*>(RequestAccess::OperationOf(request));
  const auto lease = std::find(leases_.begin(), leases_.end(), operation);
  if (lease == leases_.end()) return;
  parts_.store->Unpin(*operation);
  leases_.erase(lease);
  resting_.push_back(operation);
}

}  // namespace kvpool::pool
