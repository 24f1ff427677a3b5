// The drives of the bench: found by name, filled and wiped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "device/machine.h"
#include "kvpool/result.h"

namespace kvpool::bench {

// Whatever name leads to it. kInvalid: not a whole drive, or an empty one.
Result<device::MachineDrive> FindDrive(const std::filesystem::path& block);

// Writes `bytes` from the drive's start, taking `content` (aligned, a few MiB at least) over and
// over: what was never written reads too fast. kIoError.
Result<void> FillStart(const device::MachineDrive& drive, std::span<const std::byte> content,
                       std::uint64_t bytes);

// Zeros over the first and last MiB: no label, filesystem or partition table is left. kIoError.
Result<void> WipeEnds(const device::MachineDrive& drive);

}  // namespace kvpool::bench
