// DriveFlush: one flush of one drive, on a queue of its own.
#pragma once

#include <cstdint>
#include <memory>

#include "device/device.h"
#include "pool/device_slot.h"

namespace kvpool::pool {

// Threads: one.
class DriveFlush {
 public:
  static constexpr std::int64_t kFlushPatienceNs = 10'000'000'000;  // then it is cancelled
  static constexpr std::int64_t kGraceNs = 1'000'000'000;           // then it is given up

  // Starts it. `event_fd`: where the drive says that it may be done. `slot` outlives the flush.
  DriveFlush(DeviceSlot& slot, std::int64_t now_ns, int event_fd);
  // What the drive still holds is left to it for ever.
  ~DriveFlush();
  DriveFlush(const DriveFlush&) = delete;
  DriveFlush& operator=(const DriveFlush&) = delete;

  // Looks for its end, which is also told to the slot. True once there is a status.
  bool Step(std::int64_t now_ns);
  // When Step should run again without an event.
  std::int64_t NextStepNs() const;

  Status status() const { return status_; }  // kOk or kIoError, once Step was true
  // The drive has not given it back: it stays in the way of further flushes until it has.
  bool held() const { return flight_ != nullptr; }
  const DeviceSlot& slot() const { return slot_; }
  // The slot's, unless another stands in its place by now.
  const device::Device* device() const { return device_; }

 private:
  struct Flight {
    std::unique_ptr<device::Queue> queue;
    device::Io io;
  };

  DeviceSlot& slot_;
  const device::Device* const device_ = nullptr;
  const std::uint64_t written_;  // what it covers
  const std::int64_t until_ns_;
  std::unique_ptr<Flight> flight_;
  Status status_ = Status::kIoError;
  bool cancelled_ = false;
};

}  // namespace kvpool::pool
