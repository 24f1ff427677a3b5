#include "device/file/file_device.h"
#include "base/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "device/file/filesystem.h"
#include "device/test_support.h"

namespace kvpool::device {
namespace {

namespace fs = std::filesystem;

class FileDevice : public ::testing::Test {
 protected:
  void Create(std::uint64_t pool_id = 7, std::uint64_t device_id = 70) {
    const auto created = CreateDevice(config_, Creation(pool_id, device_id));
    ASSERT_TRUE(created) << created.error().message;
  }
  void ExpectRefused(const Result<std::unique_ptr<Device>>& opened, Status status,
                     const char* word) {
    ASSERT_FALSE(opened) << word;
    EXPECT_EQ(opened.error().status, status) << opened.error().message;
    EXPECT_NE(opened.error().message.find(word), std::string::npos) << opened.error().message;
    EXPECT_NE(opened.error().message.find(config_.path.string()), std::string::npos);
  }
  void Damage(std::uint64_t offset, std::string_view bytes) {
    std::fstream file(config_.path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
  }

  ScratchFolder folder_;
  DeviceConfig config_ = FileConfig(folder_ / "device");
};

TEST_F(FileDevice, TakesItsSpaceAtCreation) {
  Create();
  struct stat stat{};
  ASSERT_EQ(::stat(config_.path.c_str(), &stat), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(stat.st_size), 10 * kMiB);
  EXPECT_GE(static_cast<std::uint64_t>(stat.st_blocks) * 512, 10 * kMiB);
  EXPECT_EQ(stat.st_mode & 0777, 0600u);
  const auto label = ReadLabel(config_);
  ASSERT_TRUE(label) << label.error().message;
  EXPECT_EQ(label->pool_id, 7u);
  EXPECT_EQ(label->capacity_bytes, 8 * kMiB);
}

TEST_F(FileDevice, SaysWhichPathItTakes) {
  Create();
  const std::string ring = OpenDevice(config_).value()->traits().description;
  EXPECT_NE(ring.find("io_uring"), std::string::npos) << ring;
  const std::string threads =
      OpenDevice(config_, {.avoid_io_uring = true}).value()->traits().description;
  EXPECT_NE(threads.find("4 threads with preadv"), std::string::npos) << threads;
}

TEST_F(FileDevice, NothingThatIsWrittenReachesTheLabel) {
  Create();
  {
    auto device = OpenDevice(config_).value();
    Owner owner(*device);
    Buffer ones(kMiB, 0xff);
    for (std::uint64_t at = 0; at < 8 * kMiB; at += kMiB) {
      TestIo write(Op::kWrite, at, {ones.All()});
      ASSERT_EQ(owner.Run(write), Status::kOk);
    }
  }
  EXPECT_TRUE(ReadLabel(config_));
  EXPECT_EQ(fs::file_size(config_.path), 10 * kMiB);
}

TEST_F(FileDevice, BytesOutliveTheDevice) {
  Create();
  Buffer out(64 * kKiB);
  Buffer in(64 * kKiB);
  out.Fill(9);
  for (const Op op : {Op::kWrite, Op::kRead}) {
    auto device = OpenDevice(config_, {.pool_id = 7, .device_id = 70}).value();
    Owner owner(*device);
    TestIo io(op, 4 * kMiB, {op == Op::kWrite ? out.All() : in.All()});
    ASSERT_EQ(owner.Run(io), Status::kOk);
  }
  EXPECT_TRUE(in == out);
}

TEST_F(FileDevice, DoesNotOverwriteAnythingAtCreation) {
  std::ofstream(config_.path) << "precious";
  const auto created = CreateDevice(config_, Creation());
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().status, Status::kExists);
  EXPECT_EQ(fs::file_size(config_.path), 8u);
  EXPECT_FALSE(RemoveDevice(config_));
  EXPECT_TRUE(fs::exists(config_.path));
}

TEST_F(FileDevice, CreationThatFailsLeavesNothingBehind) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{4 * kMiB, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto created = CreateDevice(config_, Creation());
  ::setrlimit(RLIMIT_FSIZE, &before);
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().status, Status::kNoSpace);
  EXPECT_EQ(created.error().system_errno, EFBIG);
  EXPECT_NE(created.error().message.find("ulimit -f"), std::string::npos)
      << created.error().message;
  EXPECT_FALSE(fs::exists(config_.path));
}

TEST_F(FileDevice, MoreThanTheFilesystemHasIsNoSpace) {
  struct statfs stat{};
  ASSERT_EQ(::statfs(folder_.path().c_str(), &stat), 0);
  const auto free =
      static_cast<std::uint64_t>(stat.f_bfree) * static_cast<std::uint64_t>(stat.f_bsize);
  config_.capacity_bytes = (free / kGiB + 64) * kGiB;
  const auto created = CreateDevice(config_, Creation());
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().status, Status::kNoSpace);
  EXPECT_NE(created.error().message.find("free"), std::string::npos) << created.error().message;
  EXPECT_FALSE(fs::exists(config_.path));
}

TEST_F(FileDevice, AFolderThatIsNotThereIsNamed) {
  config_.path = folder_ / "absent/device";
  const auto created = CreateDevice(config_, Creation());
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().status, Status::kInvalid);
  EXPECT_NE(created.error().message.find("folder"), std::string::npos);
}

TEST_F(FileDevice, OddCapacitiesAreRefused) {
  for (const std::uint64_t bytes : {std::uint64_t{0}, 3 * kMiB}) {
    config_.capacity_bytes = bytes;
    EXPECT_EQ(CreateDevice(config_, Creation()).error().status, Status::kInvalid);
    EXPECT_EQ(OpenDevice(config_).error().status, Status::kInvalid);
  }
}

TEST_F(FileDevice, EachWrongFileHasItsOwnSentence) {
  ExpectRefused(OpenDevice(config_), Status::kNotFound, "remove its files and its catalog");
  fs::create_directory(config_.path);
  ExpectRefused(OpenDevice(config_), Status::kInvalid, "correct the path");
  fs::remove(config_.path);
  std::ofstream(config_.path) << std::string(100'000, 'x');
  ExpectRefused(OpenDevice(config_), Status::kNotFound, "no kvpool label");
  fs::remove(config_.path);
  std::ofstream(config_.path) << "KVPOOLDV";
  ExpectRefused(OpenDevice(config_), Status::kUnsupported, "version 0");
  fs::remove(config_.path);

  Create();
  ExpectRefused(OpenDevice(config_, {.pool_id = 8}), Status::kInvalid, "belongs to pool");
  ExpectRefused(OpenDevice(config_, {.device_id = 71}), Status::kInvalid, "swapped");
  config_.capacity_bytes = 6 * kMiB;
  ExpectRefused(OpenDevice(config_), Status::kInvalid, "was created with");
  config_.capacity_bytes = 8 * kMiB;
  fs::resize_file(config_.path, 10 * kMiB - 1);
  ExpectRefused(OpenDevice(config_), Status::kInvalid, "shrunk");
  fs::resize_file(config_.path, 10 * kMiB);
  Damage(100, "x");
  ExpectRefused(OpenDevice(config_), Status::kCorrupt, "damaged");
}

TEST_F(FileDevice, IsHeldByOneOpeningAtATime) {
  Create();
  auto first = OpenDevice(config_);
  ASSERT_TRUE(first);
  ExpectRefused(OpenDevice(config_), Status::kBusy, "in use");
  EXPECT_FALSE(RemoveDevice(config_));
  EXPECT_TRUE(ReadLabel(config_));
  first->reset();
  EXPECT_TRUE(OpenDevice(config_));
}

TEST_F(FileDevice, ALockThatIsReleasedLateIsObtained) {
  Create();
  auto first = OpenDevice(config_).value();
  std::thread holder([&] {
    const std::int64_t late = Clock::Monotonic().NowNs() + 20'000'000;
    while (Clock::Monotonic().NowNs() < late) std::this_thread::yield();
    first.reset();
  });
  const auto second = OpenDevice(config_);
  holder.join();
  EXPECT_TRUE(second) << second.error().message;
}

TEST_F(FileDevice, WhatIsNoFileIsRefusedAndNotWaitedFor) {
  ASSERT_EQ(::mkfifo(config_.path.c_str(), 0600), 0);
  for (const DeviceKind kind : {DeviceKind::kFile, DeviceKind::kBlock}) {
    config_.kind = kind;
    const char* sentence = kind == DeviceKind::kFile ? "not a regular file" : "not a block device";
    ExpectRefused(OpenDevice(config_), Status::kInvalid, sentence);
    EXPECT_EQ(ReadLabel(config_).error().status, Status::kInvalid);
    EXPECT_EQ(RemoveDevice(config_).error().status, Status::kInvalid);
  }
  EXPECT_TRUE(fs::exists(config_.path));
}

TEST_F(FileDevice, ADriveIsNoFile) {
  config_.path = "/dev/null";
  ExpectRefused(OpenDevice(config_), Status::kInvalid, "not a regular file");
}

TEST_F(FileDevice, RemovesOnlyItsOwn) {
  Create();
  EXPECT_FALSE(RemoveDevice(config_, 8));
  EXPECT_TRUE(fs::exists(config_.path));
  EXPECT_TRUE(RemoveDevice(config_, 7));
  EXPECT_FALSE(fs::exists(config_.path));
  EXPECT_EQ(RemoveDevice(config_).error().status, Status::kNotFound);
}

// A file that ends inside a transfer: the kernel answers short, and no short transfer may show.
TEST_F(FileDevice, ReadingPastTheEndOfAShrunkFileIsAnError) {
  Create();
  for (const bool threads : {false, true}) {
    auto device = OpenDevice(config_, {.avoid_io_uring = threads}).value();
    Owner owner(*device);
    fs::resize_file(config_.path, 4 * kMiB);
    Buffer in(kMiB);
    TestIo inside(Op::kRead, kMiB, {in.All()});
    TestIo across(Op::kRead, 2 * kMiB - 512 * kKiB, {in.Part(0, 4096), in.Part(4096, kMiB - 4096)});
    EXPECT_EQ(owner.Run(inside), Status::kOk);
    EXPECT_EQ(owner.Run(across), Status::kIoError);
    fs::resize_file(config_.path, 10 * kMiB);
  }
}

TEST_F(FileDevice, RefusesAFilesystemWithoutDirectTransfersUnlessToldToAccept) {
  // proc is the one filesystem that is everywhere and refuses O_DIRECT; its files are no devices,
  // so what shows is which refusal comes first.
  config_.path = "/proc/self/comm";
  config_.accept_buffered = false;
  if (::open("/proc/self/comm", O_RDWR | O_DIRECT | O_CLOEXEC) >= 0)
    GTEST_SKIP() << "proc took O_DIRECT";
  ExpectRefused(OpenDevice(config_), Status::kUnsupported, "refuses O_DIRECT");
  ExpectRefused(OpenDevice(config_), Status::kUnsupported, "proc");
  config_.accept_buffered = true;
  EXPECT_NE(OpenDevice(config_).error().status, Status::kUnsupported);
}

TEST(FilesystemName, KnowsTheCommonOnesAndNumbersTheRest) {
  EXPECT_EQ(FilesystemName(0xef53), "ext4");
  EXPECT_EQ(FilesystemName(0x01021994), "tmpfs");
  EXPECT_EQ(FilesystemName(0x1234), "a filesystem of type 0x1234");
}

}  // namespace
}  // namespace kvpool::device
