#include "layout/extent.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "base/limits.h"

namespace kvpool::layout {
namespace {

RC_GTEST_PROP(ShapeOf, CutsIntoAsFewAndAsEqualUnitsAsItCan, ()) {
  const std::uint32_t pool_unit = 32u * 1024u << *rc::gen::inRange(0, 7);
  const std::uint64_t bytes = *rc::gen::resize(
      rc::kNominalSize, rc::gen::inRange<std::uint64_t>(1, std::uint64_t{pool_unit} * 70));
  const BlockShape shape = ShapeOf(bytes, pool_unit);
  RC_ASSERT(shape.block_bytes == bytes);
  RC_ASSERT(shape.units == (bytes + pool_unit - 1) / pool_unit);
  RC_ASSERT(shape.unit_bytes <= pool_unit && shape.unit_bytes % kIoAlignment == 0);
  RC_ASSERT(shape.unit_bytes < bytes / shape.units + 1 + kIoAlignment);
  RC_ASSERT(shape.slot_bytes >= shape.unit_bytes && shape.slot_bytes >= kMinSlotBytes);
  RC_ASSERT(shape.slot_bytes == shape.unit_bytes || shape.slot_bytes == kMinSlotBytes);
  std::uint64_t sum = 0;
  for (std::uint32_t u = 0; u < shape.units; ++u) {
    RC_ASSERT(shape.BytesOf(u) > 0 && shape.BytesOf(u) <= shape.unit_bytes);
    sum += shape.BytesOf(u);
  }
  RC_ASSERT(sum == bytes);
}

TEST(ShapeOf, ABlockJustOverAUnitTakesTwoHalves) {
  const BlockShape shape = ShapeOf(257 * kKiB, 256 * kKiB);
  EXPECT_EQ(shape.units, 2u);
  EXPECT_EQ(shape.slot_bytes, 132 * kKiB);
  EXPECT_EQ(shape.BytesOf(1), 125 * kKiB);
}

TEST(ShapeOf, TinyBlocksTakeTheLeastSlot) {
  const BlockShape shape = ShapeOf(1, 256 * kKiB);
  EXPECT_EQ(shape.units, 1u);
  EXPECT_EQ(shape.BytesOf(0), 1u);
  EXPECT_EQ(shape.slot_bytes, kMinSlotBytes);
}

TEST(UnitRecord, KeepsDeviceOffsetAndChecksum) {
  UnitRecord record(63, (std::uint64_t{1} << 52) - 4096, 42);
  EXPECT_EQ(record.device(), 63);
  EXPECT_EQ(record.offset(), (std::uint64_t{1} << 52) - 4096);
  EXPECT_EQ(record.checksum(), 42u);
}

}  // namespace
}  // namespace kvpool::layout
