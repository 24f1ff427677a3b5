#include "pool/operation.h"

#include <gtest/gtest.h>

namespace kvpool::pool {
namespace {

struct CountingSink final : OperationSink {
  int done = 0;
  void UnitsDone(Operation&) override { ++done; }
};

TEST(Operation, LayersAreReadyInOrderAndDoneComesOnce) {
  const Key key = "k";
  GetRequest get;
  get.keys = {&key, 1};
  Operation operation;
  CountingSink sink;
  operation.Reset(OperationKind::kGet, get, 2);
  operation.sink = &sink;
  // 4 units of 256 KiB, 8 layers: two a unit.
  operation.keys[0].shape = layout::ShapeOf(1024 * 1024, 256 * 1024);
  for (std::uint32_t unit = 0; unit < 4; ++unit) {
    operation.units[unit % 2].push_back(
        {.offset = 0, .checksum = 0, .bytes = 256 * 1024, .key = 0, .unit = unit});
  }
  operation.Start(8);
  ASSERT_EQ(operation.batches().size(), 2u);
  const auto done = [&](std::size_t device, std::size_t position) {
    operation.UnitDone(operation.units[device][position], Status::kOk);
  };
  EXPECT_EQ(get.LayersReady(), 0u);
  done(1, 0);  // unit 1: layers 2, 3
  EXPECT_EQ(get.LayersReady(), 0u);
  done(0, 0);  // unit 0
  EXPECT_EQ(get.LayersReady(), 4u);
  done(1, 1);  // unit 3
  EXPECT_EQ(get.LayersReady(), 4u);
  EXPECT_EQ(sink.done, 0);
  done(0, 1);  // unit 2
  EXPECT_EQ(get.LayersReady(), 8u);
  EXPECT_EQ(sink.done, 1);
}

TEST(Operation, AFailedUnitFailsItsKeyOnly) {
  const std::array<Key, 2> keys{"a", "b"};
  GetRequest get;
  get.keys = keys;
  Operation operation;
  CountingSink sink;
  operation.Reset(OperationKind::kGet, get, 1);
  operation.sink = &sink;
  for (std::uint32_t key = 0; key < 2; ++key) {
    operation.keys[key].shape = layout::ShapeOf(4096, 256 * 1024);
    operation.units[0].push_back(
        {.offset = 0, .checksum = 0, .bytes = 4096, .key = key, .unit = 0});
  }
  operation.Start(1);
  operation.UnitDone(operation.units[0][0], Status::kCorrupt);
  operation.UnitDone(operation.units[0][1], Status::kOk);
  EXPECT_EQ(get.result(0), Status::kCorrupt);
  EXPECT_EQ(get.result(1), Status::kOk);
  EXPECT_EQ(sink.done, 1);
}

}  // namespace
}  // namespace kvpool::pool
