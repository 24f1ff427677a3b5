// The queue of an SPDK device.
#pragma once

#include <memory>

#include "device/device.h"
#include "device/spdk/drive.h"

namespace kvpool::device {

// `drive` and `traits` outlive the queue. kNoSpace (queues of the controller, memory), kIoError.
Result<std::unique_ptr<Queue>> OpenSpdkQueue(SpdkDrive& drive, const Traits& traits,
                                             const QueueOptions& options);

}  // namespace kvpool::device
