// Whether somebody listens where an NVMe/TCP target should be, and why not. There in every build.
#pragma once

#include "device/spdk/address.h"

namespace kvpool::device {

// SPDK itself would wait for minutes where nothing answers; this waits for a second. kNotFound.
Result<void> CheckTcpTarget(const SpdkAddress& address);

}  // namespace kvpool::device
