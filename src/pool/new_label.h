// New labels: what is written on a drive that becomes part of a pool.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device/label.h"
#include "kvpool/config.h"

namespace kvpool::pool {

// An id that no other pool and no other drive has. Odd, so never 0.
std::uint64_t RandomId();

// Of the drive `config` for position `index` of a pool of `count` devices, made now, by an id that
// is `drive_id`. Its capacity is filled in where the drive is made.
device::Label NewLabel(std::uint64_t pool_id, std::uint64_t drive_id, std::size_t index,
                       std::size_t count, const DeviceConfig& config);

}  // namespace kvpool::pool
