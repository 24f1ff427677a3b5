#include "pool/drive_flush.h"

#include <algorithm>

#include "base/keep.h"

namespace kvpool::pool {

DriveFlush::DriveFlush(DeviceSlot& slot, std::int64_t now_ns, int event_fd)
    : slot_(slot),
      device_(slot.device.get()),
      written_(slot.bytes_written.load()),
      until_ns_(now_ns + kFlushPatienceNs) {
  auto queue = slot.device->OpenQueue({.event_fd = event_fd});
  if (!queue) return;
  flight_ = std::make_unique<Flight>();
  flight_->queue = std::move(*queue);
  flight_->io.op = device::Op::kFlush;
  device::Io* io = &flight_->io;
  if (flight_->queue->Submit({&io, 1}) != 1) flight_.reset();
}

DriveFlush::~DriveFlush() {
  device::Io* done = nullptr;
  if (flight_ == nullptr || flight_->queue->Poll({&done, 1}) != 0) return;
  // A queue must not go while something is in flight on it, nor the device that it is of.
  slot_.held_on.store(true);
  KeepForEver(std::move(flight_));
}

bool DriveFlush::Step(std::int64_t now_ns) {
  if (flight_ == nullptr) return true;
  device::Io* done = nullptr;
  if (flight_->queue->Poll({&done, 1}) != 0) {
    status_ = done->status == Status::kOk ? Status::kOk : Status::kIoError;
    if (status_ == Status::kOk) slot_.bytes_flushed.store(written_);
    flight_.reset();
    return true;
  }
  if (now_ns >= until_ns_ && !cancelled_) {
    flight_->queue->Cancel(flight_->io);
    cancelled_ = true;
  }
  return now_ns >= until_ns_ + kGraceNs;
}

std::int64_t DriveFlush::NextStepNs() const {
  if (flight_ == nullptr) return 0;
  return std::min(cancelled_ ? until_ns_ + kGraceNs : until_ns_, flight_->queue->NextPollNs());
}

}  // namespace kvpool::pool
