// What becomes of an SPDK device when its PCI drive is reset or pulled out. Needs a drive that can
// be told to.
#include <gmock/gmock.h>

#include "device/spdk/dma_memory.h"
#include "device/spdk/spdk_test_support.h"
#include "mem/region.h"

namespace kvpool::device {
namespace {

TEST(SpdkRefusal, SaysWhatToDo) {
  if (spdk_setting.refused.empty()) GTEST_SKIP() << "no --refused: the drive can be used";
  const auto device = MakeSpdk(SpdkConfig());
  ASSERT_FALSE(device);
  EXPECT_THAT(device.error().message, ::testing::HasSubstr(spdk_setting.refused));
}

class SpdkPci : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!spdk_setting.Hurts("PCIe")) GTEST_SKIP() << "no PCI drive that may be hurt";
    auto device = MakeSpdk(SpdkConfig());
    ASSERT_TRUE(device) << device.error().message;
    device_ = std::move(*device);
  }

  std::unique_ptr<Device> device_;
};

// Else everything would work, through buffers.
TEST_F(SpdkPci, RegisteredMemoryIsReachedAsItIs) {
  const auto region = mem::Region::Make({.bytes = 4 * kMiB});
  ASSERT_TRUE(region);
  const auto bytes = (*region)->bytes();
  mem::RegisteredMemory registered;
  registered.Add(bytes);
  SpdkMemory memory(MemoryRule::kRegistered, &registered);
  const iovec inside[] = {{bytes.data() + 4096, 8192}, {bytes.data() + kMiB, 3 * kMiB}};
  const iovec outside[] = {{bytes.data() + 3 * kMiB, kMiB + 4096}};
  EXPECT_FALSE(memory.Reaches(inside));
  memory.Sync();
  EXPECT_TRUE(memory.Reaches(inside));
  EXPECT_FALSE(memory.Reaches(outside));
  registered.Remove(bytes);
  memory.Sync();
  EXPECT_FALSE(memory.Reaches(inside));
}

TEST_F(SpdkPci, ADriveThatIsResetGoesOn) {
  Background traffic(*device_);
  for (int i = 0; i < 3; ++i) {
    traffic.AwaitGood(50);
    Control("reset");
  }
  traffic.AwaitGood(50);
  const auto counts = traffic.Stop();
  EXPECT_EQ(counts.wrong, 0u);
  EXPECT_EQ(counts.failed, 0u);
}

TEST_F(SpdkPci, APulledDriveDrains) {
  Background traffic(*device_);
  traffic.AwaitGood(50);
  Control("pull");
  traffic.AwaitFailed(1000);
  EXPECT_EQ(traffic.Stop().wrong, 0u);
  EXPECT_FALSE(device_->OpenQueue({}));
  device_.reset();
  Control("push");
  EXPECT_TRUE(MakeSpdk(SpdkConfig())) << "the same process may open it again";
}

}  // namespace
}  // namespace kvpool::device
