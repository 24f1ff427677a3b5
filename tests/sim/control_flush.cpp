// In place of pool/drive_flush.cpp, for a control: drives are never flushed, and all seems well.
#include "pool/drive_flush.h"

namespace kvpool::pool {

DriveFlush::DriveFlush(DeviceSlot& slot, std::int64_t, int)
    : slot_(slot), written_(slot.bytes_written.load()), until_ns_(0), status_(Status::kOk) {}

DriveFlush::~DriveFlush() = default;

bool DriveFlush::Step(std::int64_t) {
  slot_.bytes_flushed.store(written_);
  return true;
}

std::int64_t DriveFlush::NextStepNs() const { return until_ns_; }

}  // namespace kvpool::pool
