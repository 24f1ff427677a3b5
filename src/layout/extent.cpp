#include "layout/extent.h"

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"

namespace kvpool::layout {

BlockShape ShapeOf(std::uint64_t block_bytes, std::uint32_t pool_unit_bytes) {
  KVPOOL_CHECK(block_bytes > 0);
  KVPOOL_CHECK(pool_unit_bytes > 0 && pool_unit_bytes % kIoAlignment == 0);
  const std::uint64_t units = (block_bytes - 1) / pool_unit_bytes + 1;
  KVPOOL_CHECK(units <= UINT32_MAX);
  const std::uint64_t even = (block_bytes - 1) / units + 1;
  const std::uint64_t rounded = (even + kIoAlignment - 1) / kIoAlignment * kIoAlignment;

  BlockShape shape;
  shape.block_bytes = block_bytes;
  shape.units = static_cast<std::uint32_t>(units);
  shape.unit_bytes = static_cast<std::uint32_t>(rounded);
  shape.slot_bytes = std::max(shape.unit_bytes, kMinSlotBytes);
  return shape;
}

}  // namespace kvpool::layout
