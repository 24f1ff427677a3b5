// The half of LaneQueue that ends what a device does not.
#include <algorithm>

#include "base/limits.h"
#include "pool/lane_queue.h"

namespace kvpool::pool {

using device::Queue;

namespace {

// A device that has given nothing back for so long, and for so many times of what it usually takes,
// may have stopped.
constexpr std::int64_t kSuspectNs = 50'000'000;
constexpr std::int64_t kSuspectTimes = 8;

}  // namespace

bool LaneQueue::Suspect() const {
  return in_flight_ > 0 &&
         now_ns_ - progress_ns_ > std::max(kSuspectNs, kSuspectTimes * typical_ns_);
}

// These units were not issued.
void LaneQueue::ExpireRest(DeviceBatch& batch, Status status) {
  std::uint32_t first = batch.cursor.exchange(batch.end, std::memory_order_relaxed);
  Operation& operation = *batch.operation;
  const std::uint32_t end = batch.end;
  if (first >= end) return;
  slot_.counters.units_waiting.fetch_sub(end - first, std::memory_order_relaxed);
  for (; first < end; ++first) operation.UnitDone(operation.UnitAt(batch, first), status);
}

void LaneQueue::Refuse(DeviceBatch& batch) {
  Operation& operation = *batch.operation;
  Announce(batch);
  ExpireRest(batch, Status::kIoError);
  operation.LetGo();
}

void LaneQueue::Expire() {
  next_deadline_ns_ = Queue::kNever;
  const bool drained = !slot_.serves();
  ExpireWaiting(drained);
  std::int64_t longest_held_ns = -1;
  for (const auto& transfer : transfers_) {
    const bool flew = transfer->stage == Transfer::Stage::kFlying;
    ExpireTransfer(*transfer, drained);
    if (!flew || transfer->stage == Transfer::Stage::kFlying) continue;
    if (transfer->late != Status::kTimedOut) continue;
    longest_held_ns = std::max(longest_held_ns, now_ns_ - transfer->issued_ns);
  }
  if (longest_held_ns >= 0) slot_.health.MissedDeadline(longest_held_ns);
}

// What is left of these is let go of at once: a device that holds every transfer lets nothing be
// issued.
void LaneQueue::ExpireWaiting(bool drained) {
  waiting_.ForEach([&](DeviceBatch& batch) {
    const std::int64_t deadline = batch.operation->deadline_ns;
    if (now_ns_ >= deadline) {
      ExpireRest(batch, Status::kTimedOut);
    } else if (drained) {
      ExpireRest(batch, Status::kIoError);
    } else {
      StepBy(deadline);
    }
  });
}

void LaneQueue::ExpireTransfer(Transfer& transfer, bool drained) {
  switch (transfer.stage) {
    case Transfer::Stage::kFree:
    case Transfer::Stage::kFetching:  // NextFetched ends it
      return;
    case Transfer::Stage::kFlying: {
      const std::int64_t deadline = transfer.batch->operation->deadline_ns;
      if (now_ns_ < deadline && !drained) return StepBy(deadline);
      transfer.late = now_ns_ >= deadline ? Status::kTimedOut : Status::kIoError;
      return CancelTransfer(transfer);
    }
    case Transfer::Stage::kCancelled:
      if (now_ns_ < transfer.given_up_ns) return StepBy(transfer.given_up_ns);
      GiveUp(transfer);
      return Judge(transfer);
    case Transfer::Stage::kWaited:
    case Transfer::Stage::kAbandoned:
      return Judge(transfer);
  }
}

void LaneQueue::CancelTransfer(Transfer& transfer) {
  transfer.stage = Transfer::Stage::kCancelled;
  transfer.given_up_ns = now_ns_ + kCancelGraceNs;
  StepBy(transfer.given_up_ns);
  queue_->Cancel(transfer.io);
}

bool LaneQueue::MayGiveUp(Transfer& transfer) {
  if (transfer.io.op == device::Op::kWrite || transfer.staging != nullptr) return true;
  return transfer.io.op == device::Op::kRead && detacher_ != nullptr &&
         queue_->HoldsPages(transfer.io) && detacher_->Detach(transfer.pieces);
}

void LaneQueue::GiveUp(Transfer& transfer) {
  if (!MayGiveUp(transfer)) {
    transfer.stage = Transfer::Stage::kWaited;
    return;
  }
  DeviceBatch& batch = *transfer.batch;
  Operation& operation = *batch.operation;
  const std::uint32_t first = transfer.first;
  const std::uint32_t end = first + transfer.count;
  for (std::uint32_t i = first; transfer.io.op == device::Op::kWrite && i < end; ++i) {
    transfer.quarantined.push_back(operation.UnitAt(batch, i).offset);
    slot_.quarantine.Hold(transfer.quarantined.back());
  }
  if (transfer.staging != nullptr) staging_.Replace();
  transfer.stage = Transfer::Stage::kAbandoned;
  transfer.batch = nullptr;
  --in_flight_;
  slot_.counters.transfers_in_flight.fetch_sub(1, std::memory_order_relaxed);
  waiting_.Ended(operation);
  ++abandoned_;
  slot_.health.Abandoned();
  // The operation may be finished, and gone, with its last unit.
  for (std::uint32_t i = first; i < end; ++i) {
    operation.UnitDone(operation.UnitAt(batch, i), transfer.late);
  }
}

// The device has let go of what was given up.
void LaneQueue::TakeBack(Transfer& transfer) {
  if (transfer.staging != nullptr) staging_.Put(transfer.staging);
  transfer.staging = nullptr;
  for (const std::uint64_t offset : transfer.quarantined) slot_.quarantine.Release(offset);
  transfer.quarantined.clear();
  transfer.stage = Transfer::Stage::kFree;
  free_.push_back(&transfer);
  --abandoned_;
}

// A device that holds on to a transfer beyond all patience has stopped.
void LaneQueue::Judge(const Transfer& transfer) {
  if (!slot_.serves()) return;
  const std::int64_t due_ns = std::max(transfer.given_up_ns, transfer.issued_ns + kPatienceNs);
  if (now_ns_ < due_ns) return StepBy(due_ns);
  slot_.health.Drain(
      "it does not answer: it held on to a transfer that was cancelled at its request's deadline; "
      "look for it in the kernel's log, replace it");
}

}  // namespace kvpool::pool
