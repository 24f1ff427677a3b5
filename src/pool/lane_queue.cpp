#include "pool/lane_queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/keep.h"
#include "base/limits.h"
#include "pool/copy_queue.h"
#include "pool/segments.h"

namespace kvpool::pool {

namespace {

constexpr std::size_t kAtOnce = 2;  // I/Os that one Step issues, and ends
constexpr std::int64_t kPollGivenUpNs = 10'000'000;

// A unit is usable when the whole I/O that carries it is done, so an I/O must not take long beside
// a layer's time: a slow drive gets smaller ones.
std::uint32_t MaxRunBytes(const DeviceSlot& slot, const device::Traits& traits) {
  constexpr double kSeconds = 1e-3;
  const double bytes = slot.config.read_bytes_per_s * kSeconds;
  return bytes >= traits.max_io_bytes ? traits.max_io_bytes : static_cast<std::uint32_t>(bytes);
}

}  // namespace

LaneQueue::LaneQueue(DeviceSlot& slot, std::unique_ptr<device::Queue> queue,
                     const LaneShared& shared)
    : slot_(slot),
      replaced_(slot.replaced.load(std::memory_order_acquire)),
      traits_(slot.device->traits()),
      queue_(std::move(queue)),
      staging_(*shared.staging),
      detacher_(shared.detacher),
      copies_(shared.copies),
      verify_(shared.verify),
      log_(*shared.log),
      max_run_bytes_(MaxRunBytes(slot, traits_)),
      watch_(*slot.speed, traits_.depth, slot.bytes_read, slot.bytes_written),
      done_(kAtOnce) {
  KVPOOL_CHECK(traits_.max_io_bytes >= kMaxUnitBytes &&
               staging_.buffer_bytes() >= traits_.max_io_bytes);
  for (std::uint32_t i = 0; i < traits_.depth; ++i) {
    transfers_.push_back(std::make_unique<Transfer>());
    transfers_.back()->io.user = transfers_.back().get();
    transfers_.back()->pieces.reserve(traits_.max_segments);
    free_.push_back(transfers_.back().get());
  }
}

LaneQueue::~LaneQueue() {
  KVPOOL_CHECK(Idle());
  if (!Awaits()) return;
  const std::string& name = slot_.config.name;
  log_({.level = LogLevel::kWarning,
        .event = "transfers_kept",
        .message = fmt::format("device \"{}\" still holds {} transfers that were given up: their "
                               "memory is kept until the process ends",
                               name, abandoned_),
        .fields = {{"device", name}, {"transfers", fmt::to_string(abandoned_)}}});
  slot_.held_on.store(true);
  KeepForEver(std::move(queue_));
  for (auto& transfer : transfers_) KeepForEver(std::move(transfer));
}

// By the first of the lanes that are given it.
void LaneQueue::Announce(DeviceBatch& batch) {
  if (batch.announced.exchange(true, std::memory_order_relaxed)) return;
  slot_.counters.units_waiting.fetch_add(batch.end, std::memory_order_relaxed);
}

void LaneQueue::Add(DeviceBatch& batch) {
  Announce(batch);
  waiting_.Add(batch);
  next_deadline_ns_ = std::min(next_deadline_ns_, batch.operation->deadline_ns);
}

bool LaneQueue::Step(std::int64_t now_ns) {
  now_ns_ = now_ns;
  if (now_ns >= next_deadline_ns_ || (!slot_.serves() && !Idle())) Expire();
  stages_reads_ = traits_.late_by_address || Suspect();
  const std::size_t ended = Collect();
  look_again_ns_ = device::Queue::kNever;
  waiting_.Resume();
  const bool moved = Issue();
  watch_.Looked(now_ns, static_cast<std::uint32_t>(ended), ended < kAtOnce,
                free_.empty() && fetching_ == 0);
  return moved || ended != 0;
}

std::int64_t LaneQueue::NextStepNs() const {
  if (Idle() && !Awaits()) return device::Queue::kNever;
  if (Spins()) return 0;
  const std::int64_t poll_ns =
      traits_.needs_polling ? now_ns_ + kPollGivenUpNs : queue_->NextPollNs();
  return std::min({poll_ns, look_again_ns_, next_deadline_ns_});
}

std::size_t LaneQueue::Collect() {
  // As few as Issue puts back: verifying a long list of arrivals would let the device run dry.
  const std::size_t count = queue_->Poll(std::span(done_).first(kAtOnce));
  for (std::size_t i = 0; i < count; ++i) {
    Complete(*static_cast<Transfer*>(done_[i]->user));
  }
  return count;
}

// A device may do the whole transfer inside Submit (memory, a file in the page cache), so a queue
// issues little at a time: the lane's other devices must not start late.
bool LaneQueue::Issue() {
  std::array<device::Io*, kAtOnce> ios;
  std::size_t count = 0;
  while (count < kAtOnce) {
    Transfer* const transfer = IssueNext();
    if (transfer == nullptr) break;
    ios[count++] = &transfer->io;
  }
  if (count == 0) return false;
  KVPOOL_CHECK(queue_->Submit({ios.data(), count}) == count);
  return true;
}

// Null: nothing may be issued now, or no staging is free for it.
LaneQueue::Transfer* LaneQueue::IssueNext() {
  if (Transfer* const fetched = NextFetched()) return fetched;
  while (!free_.empty()) {
    DeviceBatch* const batch = waiting_.Next();
    if (batch == nullptr) break;
    if (MustWaitForLink(*batch)) {
      const std::int64_t busy_ns = CopiesOf(*batch->operation).link().BusyNs();
      look_again_ns_ = std::min(look_again_ns_, now_ns_ + busy_ns);
      waiting_.HoldBack();
      continue;
    }
    Transfer& transfer = *free_.back();
    if (!TakeRun(*batch, transfer)) {
      if (batch->Exhausted()) continue;
      return nullptr;
    }
    Begin(transfer);
    const Operation& operation = *batch->operation;
    if (operation.gpu >= 0 && operation.kind == OperationKind::kPut) {
      Fetch(transfer);
      continue;
    }
    PrepareIo(transfer);
    return &transfer;
  }
  return nullptr;
}

// The units of a run that was taken are the transfer's from now on.
void LaneQueue::Begin(Transfer& transfer) {
  free_.pop_back();
  waiting_.Issued(transfer.io.bytes);
  if (in_flight_++ == 0) progress_ns_ = now_ns_;
  slot_.counters.transfers_in_flight.fetch_add(1, std::memory_order_relaxed);
  slot_.counters.units_waiting.fetch_sub(transfer.count, std::memory_order_relaxed);
  const Operation& operation = *transfer.batch->operation;
  if (CopiesOn(operation)) CopiesOf(operation).Expect(transfer.io.bytes);
  StepBy(operation.deadline_ns);
}

// The device and the transfer's units have no more to do with it.
void LaneQueue::Rest(Transfer& transfer) {
  if (transfer.staging != nullptr) staging_.Put(transfer.staging);
  transfer.staging = nullptr;
  transfer.stage = Transfer::Stage::kFree;
  free_.push_back(&transfer);
  --in_flight_;
  waiting_.Ended(*transfer.batch->operation);
}

std::uint32_t LaneQueue::Padded(std::uint32_t bytes) const {
  return (bytes + traits_.alignment - 1) & ~(traits_.alignment - 1);
}

// Fills `pieces` with where a unit's bytes lie; false when the device cannot reach them there.
bool LaneQueue::Pieces(Operation& operation, const UnitWork& work,
                       std::vector<iovec>& pieces) const {
  const std::size_t before = pieces.size();
  AppendPieces(operation.SegmentsOfKey(work.key),
               std::uint64_t{work.unit} * operation.keys[work.key].shape.unit_bytes, work.bytes,
               pieces);
  return pieces.size() <= traits_.max_segments &&
         AllAligned(std::span(pieces).subspan(before), traits_.alignment);
}

bool LaneQueue::CopiesOn(const Operation& operation) const {
  return operation.gpu >= 0 && operation.kind == OperationKind::kGet && traits_.mapped;
}

bool LaneQueue::Lends(const Operation& operation, const UnitWork& work) const {
  const bool leased = operation.lease && traits_.mapped && !operation.keys[work.key].copied;
  return leased || CopiesOn(operation);
}

// How the unit at `position` travels; where its bytes lie is added to `pieces`.
LaneQueue::Path LaneQueue::PathOf(DeviceBatch& batch, std::uint32_t position,
                                  std::vector<iovec>& pieces) const {
  Operation& operation = *batch.operation;
  const UnitWork& work = operation.UnitAt(batch, position);
  if (Lends(operation, work)) return Path::kLent;
  if (operation.gpu >= 0) return Path::kStaged;
  const std::size_t before = pieces.size();
  if (!Pieces(operation, work, pieces)) return Path::kStaged;
  if (operation.kind == OperationKind::kPut || traits_.mapped) return Path::kDirect;
  // A read that may have to be given up, into memory that can be.
  return !stages_reads_ && AllAligned(std::span(pieces).subspan(before), kIoAlignment)
             ? Path::kDirect
             : Path::kStaged;
}

// Takes the next units of the batch that one I/O can carry. False: none left, or no staging free.
bool LaneQueue::TakeRun(DeviceBatch& batch, Transfer& transfer) {
  std::uint32_t first = batch.cursor.load(std::memory_order_relaxed);
  while (first < batch.end) {
    transfer.pieces.clear();
    const Path path = PathOf(batch, first, transfer.pieces);
    if (path == Path::kStaged && transfer.staging == nullptr) {
      transfer.staging = staging_.Get();
      if (transfer.staging == nullptr) {
        return false;
      }
    }
    transfer.io.bytes = Padded(batch.operation->UnitAt(batch, first).bytes);
    std::uint32_t end = first + 1;
    while (end < batch.end && Extend(batch, transfer, end, path)) ++end;
    if (path != Path::kStaged && transfer.staging != nullptr) {
      staging_.Put(transfer.staging);
      transfer.staging = nullptr;
    }
    if (batch.cursor.compare_exchange_strong(first, end, std::memory_order_relaxed)) {
      transfer.batch = &batch;
      transfer.first = first;
      transfer.count = end - first;
      return true;
    }
  }
  if (transfer.staging != nullptr) staging_.Put(transfer.staging);
  transfer.staging = nullptr;
  return false;
}

// Adds the unit at `position` to the transfer if it follows on the device and on the same path.
bool LaneQueue::Extend(DeviceBatch& batch, Transfer& transfer, std::uint32_t position, Path path) {
  Operation& operation = *batch.operation;
  const UnitWork& last = operation.UnitAt(batch, position - 1);
  const UnitWork& next = operation.UnitAt(batch, position);
  if (next.offset != last.offset + Padded(last.bytes)) return false;
  if (transfer.io.bytes + Padded(next.bytes) > max_run_bytes_) return false;
  if (operation.keys[next.key].owner != operation.keys[last.key].owner) return false;
  const std::size_t pieces_before = transfer.pieces.size();
  if (PathOf(batch, position, transfer.pieces) != path) {
    transfer.pieces.resize(pieces_before);
    return false;
  }
  transfer.io.bytes += Padded(next.bytes);
  return true;
}

void LaneQueue::PrepareIo(Transfer& transfer) {
  Operation& operation = *transfer.batch->operation;
  const bool put = operation.kind == OperationKind::kPut;
  std::uint64_t at = 0;
  for (std::uint32_t i = 0; put && i < transfer.count; ++i) {
    UnitWork& work = operation.UnitAt(*transfer.batch, transfer.first + i);
    if (operation.gpu >= 0) {  // was brought to staging
      work.checksum = ChecksumAt(operation, work, transfer.staging + at);
      at += Padded(work.bytes);
      continue;
    }
    // What is moved was verified, and keeps its checksum.
    if (verify_ && !operation.moves) work.checksum = ChecksumOf(operation, work);
    if (transfer.staging == nullptr) continue;
    scratch_.clear();
    Pieces(operation, work, scratch_);
    Gather(scratch_, transfer.staging + at);
    at += Padded(work.bytes);
  }
  if (transfer.staging != nullptr) {
    transfer.pieces.assign(1, {transfer.staging, transfer.io.bytes});
  }
  transfer.stage = Transfer::Stage::kFlying;
  const UnitWork& first = operation.UnitAt(*transfer.batch, transfer.first);
  transfer.issued_ns = now_ns_;
  transfer.io.op = put                       ? device::Op::kWrite
                   : Lends(operation, first) ? device::Op::kLend
                                             : device::Op::kRead;
  transfer.io.status = Status::kOk;
  transfer.io.offset = first.offset;
  transfer.io.owner = operation.keys[first.key].owner;
  transfer.io.segments = transfer.pieces;
}

std::uint64_t LaneQueue::ChecksumOf(Operation& operation, const UnitWork& work) {
  scratch_.clear();
  Pieces(operation, work, scratch_);
  const std::uint64_t seed = operation.keys[work.key].seed;
  if (scratch_.size() == 1) {
    return checksum_.Of(seed, work.unit,
                        {static_cast<const std::byte*>(scratch_[0].iov_base), work.bytes});
  }
  checksum_.Begin(seed, work.unit);
  for (const iovec& piece : scratch_) {
    checksum_.Add({static_cast<const std::byte*>(piece.iov_base), piece.iov_len});
  }
  return checksum_.End();
}

std::uint64_t LaneQueue::ChecksumAt(const Operation& operation, const UnitWork& work,
                                    const std::byte* at) {
  if (!verify_) return work.checksum;
  return checksum_.Of(operation.keys[work.key].seed, work.unit, {at, work.bytes});
}

Status LaneQueue::Check(Transfer& transfer, const UnitWork& work, std::uint64_t offset_in_staging) {
  Operation& operation = *transfer.batch->operation;
  std::uint64_t found = work.checksum;
  if (transfer.io.op == device::Op::kLend) {
    found = ChecksumAt(operation, work, slot_.device->Map(work.offset));
  } else if (transfer.staging != nullptr) {
    const std::byte* bytes = transfer.staging + offset_in_staging;
    found = ChecksumAt(operation, work, bytes);
    if (found == work.checksum) {
      scratch_.clear();
      Pieces(operation, work, scratch_);
      Scatter(bytes, scratch_);
    }
  } else if (verify_) {
    found = ChecksumOf(operation, work);
  }
  return Judged(operation, work, found);
}

Status LaneQueue::Judged(const Operation& operation, const UnitWork& work, std::uint64_t found) {
  if (found == work.checksum) return Status::kOk;
  slot_.health.Corrupted(slot_.moved_bytes(), operation.keys[work.key].recent);
  return Status::kCorrupt;
}

// A transfer that went well. Before the last of its units is told: the operation may be gone then.
void LaneQueue::Count(const Transfer& transfer) {
  DeviceBatch& batch = *transfer.batch;
  const bool get = batch.operation->kind == OperationKind::kGet;
  (get ? slot_.bytes_read : slot_.bytes_written)
      .fetch_add(transfer.io.bytes, std::memory_order_relaxed);
  slot_.counters.Ended(get, batch.operation->moves, transfer.io.bytes,
                       now_ns_ - transfer.issued_ns);
  batch.moved_bytes.fetch_add(transfer.io.bytes, std::memory_order_relaxed);
  batch.moved_ns.store(now_ns_, std::memory_order_relaxed);
}

void LaneQueue::Complete(Transfer& transfer) {
  progress_ns_ = now_ns_;
  if (transfer.stage == Transfer::Stage::kAbandoned) return TakeBack(transfer);
  slot_.counters.transfers_in_flight.fetch_sub(1, std::memory_order_relaxed);
  Operation& operation = *transfer.batch->operation;
  if (CopiesOn(operation)) CopiesOf(operation).Came(transfer.io.bytes);
  Status status = transfer.io.status;
  const bool get = operation.kind == OperationKind::kGet;
  if (status == Status::kOk) {
    Count(transfer);
    slot_.health.Succeeded();
    typical_ns_ += (now_ns_ - transfer.issued_ns - typical_ns_) / 16;
  } else if (transfer.stage != Transfer::Stage::kFlying) {
    status = transfer.late;
  } else {
    slot_.health.Failed(slot_.moved_bytes());
    status = Status::kIoError;
  }
  if (status == Status::kOk && get && operation.gpu >= 0) return Forward(transfer);
  std::uint64_t at = 0;
  for (std::uint32_t i = 0; i < transfer.count; ++i) {
    UnitWork& work = operation.UnitAt(*transfer.batch, transfer.first + i);
    const bool check = status == Status::kOk && get;
    const std::uint32_t padded = Padded(work.bytes);
    // The operation may be finished, and gone, with its last unit.
    if (i + 1 == transfer.count) {
      const Status last = check ? Check(transfer, work, at) : status;
      Rest(transfer);
      operation.UnitDone(work, last);
      return;
    }
    operation.UnitDone(work, check ? Check(transfer, work, at) : status);
    at += padded;
  }
}

}  // namespace kvpool::pool
