// Faulty: makes chosen I/Os of any device go wrong, for tests. Scripts: device/fault_script.h.
#pragma once

#include <memory>

#include "base/clock.h"
#include "device/device.h"
#include "device/fault_script.h"

namespace kvpool::device {

// Not mapped, even when the inner device is: every byte has to pass the script. May allocate for an
// I/O that it strikes.
// `clock`: of transfers that come late; outlives the device.
std::unique_ptr<Device> MakeFaulty(std::unique_ptr<Device> inner, FaultScript script,
                                   const Clock& clock = Clock::Monotonic());

}  // namespace kvpool::device
