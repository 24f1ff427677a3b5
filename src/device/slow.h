// Slow: gives any device a bandwidth and a latency, so that unequal pools exist on any machine.
#pragma once

#include "base/clock.h"
#include "base/pacer.h"
#include "device/device.h"

namespace kvpool::device {

// The inner device does its work at once; an Io comes back when the pace says it is due, in the
// order of the due times, reads and writes of all queues together. The inner device has to be the
// faster one. Its depth covers the latency and 8 ms in which the owner may be late. Mapped when the
// inner device is: a loan takes the time that its bytes take. `clock` outlives the device;
// NextPollNs is in its time.
std::unique_ptr<Device> MakeSlow(std::unique_ptr<Device> inner, const Pace& pace,
                                 const Clock& clock = Clock::Monotonic());

}  // namespace kvpool::device
