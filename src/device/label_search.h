// Which drives of this machine carry a pool's labels.
#pragma once

#include <cstdint>
#include <vector>

#include "device/label.h"
#include "device/machine.h"

namespace kvpool::device {

struct LabelledDrive {
  MachineDrive drive;
  Label label;
};

// Those of pool `pool_id` that nobody uses and this user may read. Reads one page of every drive.
std::vector<LabelledDrive> FindLabels(std::uint64_t pool_id, const MachineFiles& files = {});

}  // namespace kvpool::device
