// LaneQueue: one lane's queue on one device, with the work that waits for it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "base/checksum.h"
#include "base/clock.h"
#include "device/device.h"
#include "mem/buffer_pool.h"
#include "pool/device_slot.h"
#include "pool/operation.h"

namespace kvpool::pool {

// Turns runs of units into few large I/Os: neighbours on the device that follow each other in the
// order of retrieval become one transfer. Bytes land in place where the device can reach them, in
// staging where it cannot (an unaligned address, a tail); a lease of mapped memory moves nothing.
// Gets go before puts, and both before a mover's work, unless that is urgent: then it has every
// fifth I/O.
// Threads: the lane's.
class LaneQueue {
 public:
  LaneQueue(DeviceSlot& slot, std::unique_ptr<device::Queue> queue, mem::BufferPool& staging,
            bool verify);
  ~LaneQueue();

  void Add(DeviceBatch& batch);

  // Collects what is done and issues what fits. True when anything moved.
  bool Step(std::int64_t now_ns);

  // When Step should run again without an event; device::Queue::kNever if only after one.
  std::int64_t NextStepNs() const;
  // It has work whose end is only found by looking.
  bool Spins() const { return traits_.needs_polling && !Idle(); }
  bool Idle() const {
    return in_flight_ == 0 && gets_.empty() && puts_.empty() && background_.empty();
  }

 private:
  enum class Path : std::uint8_t { kDirect, kStaged, kLent };
  struct Transfer {
    device::Io io;
    DeviceBatch* batch = nullptr;
    std::uint32_t first = 0;  // positions in the batch
    std::uint32_t count = 0;
    std::byte* staging = nullptr;
    bool cancelled = false;
    std::int64_t issued_ns = 0;
    std::vector<iovec> pieces;
  };
  struct Issued {
    enum What : std::uint8_t { kTransfer, kNothing, kStalled } what;
    Transfer* transfer;
  };

  bool Collect();
  bool Issue();
  Issued IssueNext();
  Issued IssueFrom(std::deque<DeviceBatch*>& batches);
  void LetGoOfExhausted(std::deque<DeviceBatch*>& batches);
  bool TakeRun(DeviceBatch& batch, Transfer& transfer);
  bool Extend(DeviceBatch& batch, Transfer& transfer, std::uint32_t position, Path path);
  bool Pieces(Operation& operation, const UnitWork& work, std::vector<iovec>& pieces) const;
  bool Lends(const Operation& operation) const;
  Path PathOf(DeviceBatch& batch, std::uint32_t position, std::vector<iovec>& pieces) const;
  void ExpireRest(DeviceBatch& batch);
  void PrepareIo(Transfer& transfer);
  void Complete(Transfer& transfer);
  Status Check(Transfer& transfer, const UnitWork& work, std::uint64_t offset_in_staging);
  std::uint64_t ChecksumAt(const Operation& operation, const UnitWork& work, const std::byte* at);
  std::uint64_t ChecksumOf(Operation& operation, const UnitWork& work);
  void Expire(std::int64_t now_ns);
  std::uint32_t Padded(std::uint32_t bytes) const;

  DeviceSlot& slot_;
  const device::Traits& traits_;
  std::unique_ptr<device::Queue> queue_;
  mem::BufferPool& staging_;
  const bool verify_;
  const std::uint32_t max_run_bytes_;
  std::deque<DeviceBatch*> gets_;
  std::deque<DeviceBatch*> puts_;
  std::deque<DeviceBatch*> background_;
  std::uint32_t ahead_ = 0;  // requests' I/Os since the last one of the background
  std::vector<std::unique_ptr<Transfer>> transfers_;
  std::vector<Transfer*> free_;
  std::vector<device::Io*> done_;
  std::vector<iovec> scratch_;
  UnitChecksum checksum_;
  std::uint32_t in_flight_ = 0;
  std::uint32_t background_in_flight_ = 0;  // of these
  std::int64_t now_ns_ = 0;                 // of this Step
  std::int64_t next_deadline_ns_ = device::Queue::kNever;
};

}  // namespace kvpool::pool
