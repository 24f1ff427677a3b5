// On a loop device, where this user can make one.
#include "device/block/block_device.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>

#include "base/descriptor.h"
#include "device/test_support.h"

namespace kvpool::device {
namespace {

// A file of 16 MiB as a block device; path() is empty where that is not allowed.
class LoopDevice {
 public:
  LoopDevice() {
    const Descriptor control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    const Descriptor file(
        ::open((folder_ / "backing").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!control || ::ftruncate(file.get(), 16 * kMiB) != 0) return;
    for (int tries = 0; tries < 10 && path_.empty();
         ++tries) {  // others may take the free one first
      const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
      if (number < 0) return;
      const std::string path = "/dev/loop" + std::to_string(number);
      loop_ = Descriptor(::open(path.c_str(), O_RDWR | O_CLOEXEC));
      if (loop_ && ::ioctl(loop_.get(), LOOP_SET_FD, file.get()) == 0) path_ = path;
    }
  }
  ~LoopDevice() {
    if (!path_.empty()) ::ioctl(loop_.get(), LOOP_CLR_FD, 0);
  }

  const std::string& path() const { return path_; }
  int fd() const { return loop_.get(); }

 private:
  ScratchFolder folder_;
  Descriptor loop_;
  std::string path_;
};

class BlockDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    if (loop_.path().empty()) GTEST_SKIP() << "this user cannot make a loop device";
    config_.name = "block";
    config_.kind = DeviceKind::kBlock;
    config_.path = loop_.path();
  }

  void Put(std::uint64_t offset, std::string_view bytes) {
    ASSERT_EQ(::pwrite(loop_.fd(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes.size()));
    ::fsync(loop_.fd());
  }

  LoopDevice loop_;
  DeviceConfig config_;
};

TEST_F(BlockDevice, TakesAllOfTheDriveAndKeepsBytes) {
  auto created = CreateDevice(config_, Creation());
  ASSERT_TRUE(created) << created.error().message;
  Buffer out(kMiB);
  Buffer in(kMiB);
  out.Fill(4);
  for (const Op op : {Op::kWrite, Op::kFlush, Op::kRead}) {
    auto device = OpenDevice(config_, {.pool_id = 7});
    ASSERT_TRUE(device) << device.error().message;
    EXPECT_EQ((*device)->traits().capacity_bytes, 14 * kMiB);
    EXPECT_EQ((*device)->traits().kind, "block");
    Owner owner(**device);
    TestIo io(op, op == Op::kFlush ? 0 : 13 * kMiB, {});
    if (op != Op::kFlush) {
      io.own_segments = {op == Op::kWrite ? out.All() : in.All()};
      io.segments = io.own_segments;
      io.bytes = kMiB;
    }
    EXPECT_EQ(owner.Run(io), Status::kOk);
  }
  EXPECT_TRUE(in == out);
  EXPECT_TRUE(ReadLabel(config_));
}

TEST_F(BlockDevice, IsHeldByOneOpeningAtATime) {
  ASSERT_TRUE(CreateDevice(config_, Creation()));
  auto first = OpenDevice(config_);
  ASSERT_TRUE(first);
  const auto second = OpenDevice(config_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().status, Status::kBusy);
  EXPECT_NE(second.error().message.find("in use"), std::string::npos);
}

TEST_F(BlockDevice, WhatCarriesSomethingIsTakenOnlyWhenToldTwice) {
  Put(1080, "\x53\xef");
  CreateOptions options = Creation();
  auto created = CreateDevice(config_, options);
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().status, Status::kExists);
  EXPECT_NE(created.error().message.find("ext"), std::string::npos) << created.error().message;
  options.force = true;
  EXPECT_FALSE(CreateDevice(config_, options));
  options.confirm = "/dev/another";
  EXPECT_FALSE(CreateDevice(config_, options));
  options.force = false;
  options.confirm = loop_.path();
  EXPECT_FALSE(CreateDevice(config_, options));
  EXPECT_EQ(ReadLabel(config_).error().status, Status::kNotFound);
  options.force = true;
  EXPECT_TRUE(CreateDevice(config_, options));
}

TEST_F(BlockDevice, AnotherPoolsLabelCountsAsSomething) {
  ASSERT_TRUE(CreateDevice(config_, Creation(7)));
  const auto again = CreateDevice(config_, Creation(8));
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().message.find("kvpool label"), std::string::npos);
  EXPECT_EQ(ReadLabel(config_)->pool_id, 7u);
}

TEST_F(BlockDevice, KindDriveSaysWhyItTakesTheBlockLayer) {
  config_.kind = DeviceKind::kDrive;
  ASSERT_TRUE(CreateDevice(config_, Creation()));
  auto device = OpenDevice(config_, {.pool_id = 7});
  ASSERT_TRUE(device) << device.error().message;
  EXPECT_EQ((*device)->traits().kind, "block");
  const std::string& description = (*device)->traits().description;
  EXPECT_NE(description.find("block chosen for kind drive"), std::string::npos) << description;
  EXPECT_NE(description.find("not an NVMe namespace"), std::string::npos) << description;
  device->reset();
  EXPECT_TRUE(RemoveDevice(config_, 7));
}

TEST_F(BlockDevice, RemovingWipesTheLabel) {
  ASSERT_TRUE(CreateDevice(config_, Creation(7)));
  EXPECT_FALSE(RemoveDevice(config_, 8));
  ASSERT_TRUE(RemoveDevice(config_, 7));
  EXPECT_EQ(OpenDevice(config_).error().status, Status::kNotFound);
  EXPECT_TRUE(CreateDevice(config_, Creation(8)));
}

TEST_F(BlockDevice, MoreThanItHoldsIsNoSpace) {
  config_.capacity_bytes = 16 * kMiB;
  EXPECT_EQ(CreateDevice(config_, Creation()).error().status, Status::kNoSpace);
  config_.capacity_bytes = 4 * kMiB;
  ASSERT_TRUE(CreateDevice(config_, Creation()));
  EXPECT_EQ(OpenDevice(config_).value()->traits().capacity_bytes, 4 * kMiB);
}

TEST(BlockDeviceWithoutLoop, AFileIsNotOne) {
  ScratchFolder folder;
  DeviceConfig config = FileConfig(folder / "device");
  ASSERT_TRUE(CreateDevice(config, Creation()));
  config.kind = DeviceKind::kBlock;
  const auto opened = OpenDevice(config);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().status, Status::kInvalid);
  EXPECT_NE(opened.error().message.find("kind to file"), std::string::npos);
}

}  // namespace
}  // namespace kvpool::device
