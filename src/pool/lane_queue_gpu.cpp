// The half of LaneQueue whose bytes come from a GPU, or go on to one.
#include <utility>

#include "pool/copy_queue.h"
#include "pool/lane_queue.h"
#include "pool/segments.h"

namespace kvpool::pool {

CopyQueue& LaneQueue::CopiesOf(const Operation& operation) const {
  return *copies_[static_cast<std::size_t>(operation.gpu)];
}

// While the link has enough to do, bytes of one layer go before those of later ones: a device whose
// part of a context is ahead waits for the others, a drive with a little under way to stay busy.
// And no link's copies take more than half of the staging.
bool LaneQueue::MustWaitForLink(const DeviceBatch& batch) const {
  constexpr std::uint32_t kDriveLayers = 1;
  constexpr std::uint32_t kDriveDepth = 2;
  const Operation& operation = *batch.operation;
  if (operation.gpu < 0 || operation.kind != OperationKind::kGet) return false;
  CopyQueue& copies = CopiesOf(operation);
  if (traits_.mapped)
    return !copies.HasRoom() || (copies.link().Busy() && operation.IsAhead(batch, 0));
  if (in_flight_ + copying_ < kDriveDepth || !copies.link().Busy()) return false;
  return staging_.HalfOut() || operation.IsAhead(batch, kDriveLayers);
}

// A put's bytes come to staging first.
void LaneQueue::Fetch(Transfer& transfer) {
  Operation& operation = *transfer.batch->operation;
  CopyQueue& copies = CopiesOf(operation);
  GpuCopy& copy = copies.Take();
  copy.owner = this;
  copy.transfer = &transfer;
  copy.deadline_ns = operation.deadline_ns;
  std::byte* at = transfer.staging;
  for (std::uint32_t i = 0; i < transfer.count; ++i) {
    const UnitWork& work = Operation::UnitAt(*transfer.batch, transfer.first + i);
    AppendRuns(operation.SegmentsOfKey(work.key),
               std::uint64_t{work.unit} * operation.keys[work.key].shape.unit_bytes, work.bytes,
               gpu::Direction::kToHost, at, copy.runs);
    at += Padded(work.bytes);
  }
  transfer.stage = Transfer::Stage::kFetching;
  ++fetching_;
  copies.Add(copy, gpu::Direction::kToHost);
}

// The next transfer whose bytes have come, ready for the device; null: there is none.
LaneQueue::Transfer* LaneQueue::NextFetched() {
  while (!fetched_.empty()) {
    const auto [transfer, copied] = fetched_.front();
    fetched_.pop_front();
    --fetching_;
    Operation& operation = *transfer->batch->operation;
    Status status = copied;
    if (status == Status::kOk && now_ns_ >= operation.deadline_ns) status = Status::kTimedOut;
    if (status == Status::kOk && !slot_.serves()) status = Status::kIoError;
    if (status == Status::kOk) {
      PrepareIo(*transfer);
      return transfer;
    }
    EndUnissued(*transfer, status);
  }
  return nullptr;
}

void LaneQueue::EndUnissued(Transfer& transfer, Status status) {
  DeviceBatch& batch = *transfer.batch;
  Operation& operation = *batch.operation;
  const std::uint32_t first = transfer.first;
  const std::uint32_t end = first + transfer.count;
  slot_.counters.transfers_in_flight.fetch_sub(1, std::memory_order_relaxed);
  Rest(transfer);
  // The operation may be finished, and gone, with its last unit.
  for (std::uint32_t i = first; i < end; ++i) {
    operation.UnitDone(Operation::UnitAt(batch, i), status);
  }
}

// A get's bytes have come: those that are right go on to the GPU, and the device may have the
// transfer for what is next.
void LaneQueue::Forward(Transfer& transfer) {
  Operation& operation = *transfer.batch->operation;
  CopyQueue& copies = CopiesOf(operation);
  GpuCopy& copy = copies.Take();
  copy.owner = this;
  copy.deadline_ns = operation.deadline_ns;
  copy.batch = transfer.batch;
  copy.first = transfer.first;
  copy.count = transfer.count;
  copy.staging = std::exchange(transfer.staging, nullptr);
  std::byte* at = copy.staging;
  for (std::uint32_t i = 0; i < copy.count; ++i) {
    UnitWork& work = Operation::UnitAt(*copy.batch, copy.first + i);
    std::byte* const bytes = copy.staging != nullptr ? at : slot_.device->Map(work.offset);
    at += copy.staging != nullptr ? Padded(work.bytes) : 0;
    work.status = Judged(operation, work, ChecksumAt(operation, work, bytes));
    if (work.status != Status::kOk) continue;
    AppendRuns(operation.SegmentsOfKey(work.key),
               std::uint64_t{work.unit} * operation.keys[work.key].shape.unit_bytes, work.bytes,
               gpu::Direction::kToGpu, bytes, copy.runs);
  }
  Rest(transfer);
  ++copying_;
  copies.Add(copy, gpu::Direction::kToGpu);
}

void LaneQueue::Copied(GpuCopy& copy) {
  const Status status = copy.copy.status;
  Operation& operation =
      *(copy.transfer != nullptr ? static_cast<Transfer*>(copy.transfer)->batch : copy.batch)
           ->operation;
  if (status == Status::kIoError) operation.gpu_failed.store(true, std::memory_order_relaxed);
  if (copy.transfer != nullptr) {
    fetched_.push_back({static_cast<Transfer*>(copy.transfer), status});
    return;
  }
  if (copy.staging != nullptr) staging_.Put(copy.staging);
  --copying_;
  // The operation may be finished, and gone, with its last unit.
  DeviceBatch& batch = *copy.batch;
  for (std::uint32_t i = copy.first; i < copy.first + copy.count; ++i) {
    UnitWork& work = Operation::UnitAt(batch, i);
    operation.UnitDone(work, work.status != Status::kOk ? work.status : status);
  }
}

}  // namespace kvpool::pool
