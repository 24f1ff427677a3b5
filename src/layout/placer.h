// Placer: which unit of which block goes to which device.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "layout/extent.h"
#include "layout/shares.h"

namespace kvpool::layout {

struct PlacementRequest {
  std::span<const DeviceRate> devices;
  std::span<const LinkRate> links = {};
  std::uint64_t first_ordinal = 0;  // where the first block stands in its context
  std::uint32_t blocks = 0;
  std::uint32_t units_per_block = 0;
  std::uint32_t slices = 1;  // layers; unit u belongs to slice u * slices / units_per_block
};

// Deals units in proportion to the devices' shares so that every prefix of a context, every layer
// slice and all slices so far of any prefix hold each device's share, within the bounds that
// docs/placement.md states and the tests check. Placement depends on the ordinal, not on what was
// dealt before: a context may arrive in pieces, in any order. Shares that differ by less than 0.07
// % count as the same. Equal rates deal plain stripes (Placement::kEqual).
//
// Where a device is full, placement follows the free space: a request of 1,024 units or more is
// dealt by the shares that fit it, and single units that still find no room go to the device that
// would read them back first.
// Threads: one.
class Placer {
 public:
  Placer();
  ~Placer();

  // out[b * units_per_block + u] = device. False, and nothing usable in `out`, when the devices
  // have fewer free units than asked for. Rows that were dealt before are copied; new ones take
  // 0.1 to 0.5 us a unit. At most 4 MiB of rows are kept.
  bool Place(const PlacementRequest& request, std::span<DeviceIndex> out);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvpool::layout
