// LaneQueue: one lane's queue on one device, with the work that waits for it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "base/checksum.h"
#include "base/clock.h"
#include "base/log_event.h"
#include "device/device.h"
#include "gpu/stager.h"
#include "mem/detacher.h"
#include "pool/device_slot.h"
#include "pool/operation.h"
#include "pool/speed_meter.h"
#include "pool/staging.h"
#include "pool/waiting_work.h"

namespace kvpool::pool {

class CopyQueue;
struct GpuCopy;

// What a lane's queues share. All of it outlives them.
struct LaneShared {
  Staging* staging = nullptr;
  mem::Detacher* detacher = nullptr;  // null: a direct read is waited for however long it takes
  std::span<const std::unique_ptr<CopyQueue>> copies = {};  // by GPU
  bool verify = true;
  const Log* log = nullptr;
};

// Turns runs of units into few large I/Os: neighbours on the device that follow each other in the
// order of retrieval become one transfer. Bytes land in place where the device can reach them, in
// staging where it cannot (an unaligned address, a tail); a lease of mapped memory moves nothing.
// Whose turn it is: WaitingWork.
//
// A request is told of its units at its deadline and a short grace, whatever the device does. A
// transfer that the device does not let go of is given up then: the Transfer stays for the device
// until it comes back. A read's staging stays with it, or the caller's memory is detached from it;
// a write's slots are quarantined. Only where memory cannot be detached is the device waited for.
// A device that is drained is given up at once.
//
// Where the request's segments lie on a GPU, a get's units are verified where they lie or in
// staging, and their transfer goes on as a copy; a put's come to staging by a copy first. What the
// GPU's link does not drain is not read: drives wait for staging, and memory for their copies.
// Threads: the lane's.
class LaneQueue {
 public:
  LaneQueue(DeviceSlot& slot, std::unique_ptr<device::Queue> queue, const LaneShared& shared);
  // What the device still holds is kept for ever, with an event in the log.
  ~LaneQueue();

  void Add(DeviceBatch& batch);
  // Ends the batch with kIoError instead.
  void Refuse(DeviceBatch& batch);
  // A copy that it gave has ended.
  void Copied(GpuCopy& copy);

  // Collects what is done and issues what fits. True when anything moved.
  bool Step(std::int64_t now_ns);

  // When Step should run again without an event; device::Queue::kNever if only after one.
  std::int64_t NextStepNs() const;
  // It has work whose end is only found by looking.
  bool Spins() const { return traits_.needs_polling && !Idle(); }
  bool Idle() const { return in_flight_ == 0 && copying_ == 0 && waiting_.empty(); }
  // Another device stands in the place of the one that it is on.
  bool Replaced() const { return slot_.replaced.load(std::memory_order_acquire) != replaced_; }
  // The device holds transfers that were given up.
  bool Awaits() const { return abandoned_ > 0; }

 private:
  enum class Path : std::uint8_t { kDirect, kStaged, kLent };
  struct Transfer {
    device::Io io;
    DeviceBatch* batch = nullptr;
    std::uint32_t first = 0;  // positions in the batch
    std::uint32_t count = 0;
    std::byte* staging = nullptr;
    enum class Stage : std::uint8_t {
      kFree,
      kFetching,  // a put's bytes are on their way from the GPU
      kFlying,
      kCancelled,  // the device was asked to let go
      kWaited,     // and does not, but nothing can be given up
      kAbandoned,  // and does not, but nobody else waits
    } stage = Stage::kFree;
    Status late = Status::kTimedOut;  // what its units are told once cancelled
    std::int64_t issued_ns = 0;
    std::int64_t given_up_ns = 0;            // when it is, once cancelled
    std::vector<std::uint64_t> quarantined;  // slots of a write that was given up
    std::vector<iovec> pieces;
  };

  std::size_t Collect();
  bool Issue();
  Transfer* IssueNext();
  void Begin(Transfer& transfer);
  void Rest(Transfer& transfer);
  void EndUnissued(Transfer& transfer, Status status);
  CopyQueue& CopiesOf(const Operation& operation) const;
  void Fetch(Transfer& transfer);
  Transfer* NextFetched();
  void Forward(Transfer& transfer);
  bool TakeRun(DeviceBatch& batch, Transfer& transfer);
  bool Extend(DeviceBatch& batch, Transfer& transfer, std::uint32_t position, Path path);
  bool Pieces(Operation& operation, const UnitWork& work, std::vector<iovec>& pieces) const;
  bool MustWaitForLink(const DeviceBatch& batch) const;
  bool CopiesOn(const Operation& operation) const;  // from where they lie to a GPU
  bool Lends(const Operation& operation, const UnitWork& work) const;
  Path PathOf(DeviceBatch& batch, std::uint32_t position, std::vector<iovec>& pieces) const;
  void Announce(DeviceBatch& batch);
  void ExpireRest(DeviceBatch& batch, Status status);
  void PrepareIo(Transfer& transfer);
  void Count(const Transfer& transfer);
  void Complete(Transfer& transfer);
  Status Check(Transfer& transfer, const UnitWork& work, std::uint64_t offset_in_staging);
  Status Judged(const Operation& operation, const UnitWork& work, std::uint64_t found);
  std::uint64_t ChecksumAt(const Operation& operation, const UnitWork& work, const std::byte* at);
  std::uint64_t ChecksumOf(Operation& operation, const UnitWork& work);
  void Expire();
  void ExpireWaiting(bool drained);
  void ExpireTransfer(Transfer& transfer, bool drained);
  void CancelTransfer(Transfer& transfer);
  void GiveUp(Transfer& transfer);
  bool MayGiveUp(Transfer& transfer);
  void TakeBack(Transfer& transfer);
  void Judge(const Transfer& transfer);
  void StepBy(std::int64_t ns) { next_deadline_ns_ = std::min(next_deadline_ns_, ns); }
  bool Suspect() const;
  std::uint32_t Padded(std::uint32_t bytes) const;

  DeviceSlot& slot_;
  const std::uint32_t replaced_;  // how often the slot's device had been, when it was opened
  const device::Traits& traits_;
  std::unique_ptr<device::Queue> queue_;
  Staging& staging_;
  mem::Detacher* const detacher_;
  const std::span<const std::unique_ptr<CopyQueue>> copies_;
  const bool verify_;
  const Log& log_;
  const std::uint32_t max_run_bytes_;
  BusyWatch watch_;
  WaitingWork waiting_;
  std::vector<std::unique_ptr<Transfer>> transfers_;
  std::vector<Transfer*> free_;
  std::vector<device::Io*> done_;
  std::vector<iovec> scratch_;
  UnitChecksum checksum_;
  std::uint32_t in_flight_ = 0;  // without what was given up
  std::uint32_t fetching_ = 0;   // of these, those that the device does not have yet
  std::uint32_t copying_ = 0;    // copies of gets, whose transfers are free again
  struct Fetched {
    Transfer* transfer;
    Status status;  // of the copy
  };
  std::deque<Fetched> fetched_;
  std::uint32_t abandoned_ = 0;
  bool stages_reads_ = false;     // in this Step
  std::int64_t progress_ns_ = 0;  // when the device last gave anything back, or began to work
  std::int64_t typical_ns_ = 0;   // how long it has a transfer, on average
  std::int64_t now_ns_ = 0;       // of this Step
  std::int64_t next_deadline_ns_ = device::Queue::kNever;
  std::int64_t look_again_ns_ = device::Queue::kNever;  // when what waits for a link may go on
};

}  // namespace kvpool::pool
