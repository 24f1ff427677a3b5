// What every queue checks of an Io before it touches a device, and how it tells its owner.
#pragma once

#include "device/device.h"

namespace kvpool::device {

// Bounds, alignment, number of segments and the sum of their lengths.
bool IsValid(const Io& io, const Traits& traits);

// Adds one to the eventfd; nothing when it is -1.
void Notify(int event_fd);

}  // namespace kvpool::device
