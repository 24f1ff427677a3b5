// On an emulated drive, in the guest.
#include "device/nvme/nvme_device.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <thread>
#include <utility>

#include "device/contract_test.h"
#include "device/file/drive_device.h"
#include "device/nvme/nvme_test_support.h"
#include "device/slow.h"

namespace kvpool::device {
namespace {

Result<std::unique_ptr<Device>> Make(const DeviceConfig& config) {
  Erase(config.path);
  if (auto created = CreateDevice(config, Creation()); !created) {
    return tl::unexpected(created.error());
  }
  return OpenDevice(config);
}

const ContractCase kCases[] = {
    {"nvme", [](const ScratchFolder&) { return Make(NvmeConfig()); }},
    {"nvme_registered", [](const ScratchFolder&) { return Make(NvmeConfig()); }, true},
    {"nvme_by_block_node",
     [](const ScratchFolder&) { return Make(NvmeConfig(BlockNode(TestDrives()[0]))); }},
    {"slow_nvme",
     [](const ScratchFolder&) {
       DeviceConfig config = NvmeConfig();
       config.slow = SlowConfig{.bytes_per_s = 2e9, .latency_us = 50, .seed = 3};
       return Make(config);
     }},
};
INSTANTIATE_TEST_SUITE_P(Nvme, Contract, ::testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

class NvmeDevice : public ::testing::Test {
 protected:
  void SetUp() override { Erase(config_.path); }
  void Create() {
    auto created = CreateDevice(config_, Creation());
    ASSERT_TRUE(created) << created.error().message;
  }
  static void ExpectRefused(const Result<std::unique_ptr<Device>>& opened, const char* words,
                            Status status = Status::kInvalid) {
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().status, status);
    EXPECT_NE(opened.error().message.find(words), std::string::npos) << opened.error().message;
  }

  std::string ControllerFolder() const {
    return "/sys/class/nvme/nvme" + config_.path.string().substr(std::strlen("/dev/ng"), 1);
  }

  DeviceConfig config_ = NvmeConfig();
};

TEST_F(NvmeDevice, TakesAllOfTheDriveAndPollsWhenAsked) {
  config_.capacity_bytes = 0;
  Create();
  auto device = OpenDevice(config_);
  ASSERT_TRUE(device) << device.error().message;
  const Traits& traits = (*device)->traits();
  EXPECT_EQ(traits.kind, "nvme");
  EXPECT_EQ(traits.capacity_bytes % kSlabBytes, 0u);
  EXPECT_GE(traits.capacity_bytes, 32 * kMiB);
  EXPECT_GE(traits.max_io_bytes, kMaxUnitBytes);
  const int poll_queues = ReadNumber("/sys/module/nvme/parameters/poll_queues", 0);
  EXPECT_EQ(traits.needs_polling, poll_queues > 0);
  config_.polled = false;
  device->reset();
  auto unasked = OpenDevice(config_);
  ASSERT_TRUE(unasked) << unasked.error().message;
  EXPECT_FALSE((*unasked)->traits().needs_polling);
}

TEST_F(NvmeDevice, DescribesThePathTaken) {
  Create();
  auto device = OpenDevice(config_, {.remarks = {"as asked"}});
  ASSERT_TRUE(device) << device.error().message;
  const Traits& traits = (*device)->traits();
  for (const char* words : {"passthrough", "serial drive", "blocks of", "; as asked"}) {
    EXPECT_NE(traits.description.find(words), std::string::npos) << traits.description;
  }
}

TEST_F(NvmeDevice, TheSameBytesAsThroughTheBlockLayer) {
  Create();
  Buffer out(4 * kMiB);
  Buffer in(4 * kMiB);
  out.Fill(11);
  {
    auto device = OpenDevice(config_).value();
    Owner owner(*device);
    for (std::size_t i = 0; i < 4; ++i) {
      TestIo write(Op::kWrite, i * kMiB, {out.Part(i * kMiB, kMiB)});
      ASSERT_EQ(owner.Run(write), Status::kOk);
    }
    TestIo flush(Op::kFlush, 0, {});
    ASSERT_EQ(owner.Run(flush), Status::kOk);
  }
  config_.kind = DeviceKind::kBlock;
  config_.path = BlockNode(config_.path);
  auto device = OpenDevice(config_, {.pool_id = 7, .device_id = 70});
  ASSERT_TRUE(device) << device.error().message;
  Owner owner(**device);
  for (std::size_t i = 0; i < 4; ++i) {
    TestIo read(Op::kRead, i * kMiB, {in.Part(i * kMiB, kMiB)});
    ASSERT_EQ(owner.Run(read), Status::kOk);
  }
  EXPECT_TRUE(in == out);
}

// Memory no two pages of which are neighbours in the machine: too many for one command of 1 MiB.
class ScatteredMemory {
 public:
  explicit ScatteredMemory(std::size_t bytes) : bytes_(bytes) {
    data_ = static_cast<std::byte*>(
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ::madvise(data_, bytes, MADV_NOHUGEPAGE);
    constexpr std::size_t kStride = 16;  // the kernel hands out pages in the order of first use
    for (std::size_t first = 0; first < kStride; ++first) {
      for (std::size_t page = first; page < bytes / 4096; page += kStride) {
        data_[page * 4096] = std::byte(page);
      }
    }
  }
  ~ScatteredMemory() { ::munmap(data_, bytes_); }
  iovec Part(std::size_t offset, std::size_t bytes) { return {data_ + offset, bytes}; }
  std::byte* data() { return data_; }

 private:
  std::byte* data_;
  std::size_t bytes_;
};

TEST_F(NvmeDevice, MemoryInScatteredPagesIsSplit) {
  Create();
  auto device = OpenDevice(config_).value();
  Owner owner(*device);
  ScatteredMemory out(2 * kMiB);
  ScatteredMemory in(kMiB);
  std::vector<iovec> pieces;
  for (std::size_t i = 0; i < 64; ++i) pieces.push_back(out.Part(i * 32 * kKiB, 16 * kKiB));
  TestIo scattered(Op::kWrite, 0, pieces);
  TestIo whole(Op::kWrite, kMiB, {out.Part(0, kMiB)});
  ASSERT_EQ(owner.Run(whole), Status::kOk);
  ASSERT_EQ(owner.Run(scattered), Status::kOk);
  TestIo read(Op::kRead, kMiB, {in.Part(0, kMiB)});
  ASSERT_EQ(owner.Run(read), Status::kOk);
  EXPECT_TRUE(std::equal(in.data(), in.data() + kMiB, out.data()));
  read.offset = 0;
  ASSERT_EQ(owner.Run(read), Status::kOk);
  for (std::size_t i = 0; i < 64; ++i) {
    ASSERT_TRUE(std::equal(in.data() + i * 16 * kKiB, in.data() + (i + 1) * 16 * kKiB,
                           out.data() + i * 32 * kKiB));
  }
}

TEST_F(NvmeDevice, IsHeldAgainstEitherNode) {
  Create();
  DeviceConfig block = config_;
  block.kind = DeviceKind::kBlock;
  block.path = BlockNode(config_.path);
  DeviceConfig by_block = block;
  by_block.kind = DeviceKind::kNvme;
  {
    auto device = OpenDevice(config_);
    ASSERT_TRUE(device);
    for (const DeviceConfig& other : {config_, block, by_block}) {
      ExpectRefused(OpenDevice(other), "in use", Status::kBusy);
      EXPECT_FALSE(RemoveDevice(other, 7));
      EXPECT_TRUE(ReadLabel(other));
    }
  }
  auto device = OpenDevice(block);
  ASSERT_TRUE(device);
  ExpectRefused(OpenDevice(config_), "in use", Status::kBusy);
}

TEST_F(NvmeDevice, ClosingFreesTheDriveAtOnce) {
  Create();
  for (int i = 0; i < 5; ++i) {
    auto device = OpenDevice(config_);
    ASSERT_TRUE(device) << device.error().message;
    Owner owner(**device);
    Buffer memory(64 * kKiB);
    TestIo read(Op::kRead, 0, {memory.All()});
    ASSERT_EQ(owner.Run(read), Status::kOk);
  }
}

TEST_F(NvmeDevice, WhatCarriesSomethingIsTakenOnlyWhenToldTwice) {
  Create();
  CreateOptions again = Creation(8);
  const auto refused = CreateDevice(config_, again);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, Status::kExists);
  EXPECT_NE(refused.error().message.find("kvpool label"), std::string::npos);
  again.force = true;
  EXPECT_FALSE(CreateDevice(config_, again));
  again.confirm = "drive7";
  EXPECT_FALSE(CreateDevice(config_, again));
  EXPECT_EQ(ReadLabel(config_)->pool_id, 7u);
  again.confirm = NvmeDrive::Open(config_.path, RawAccess::kLook).value()->facts().serial;
  EXPECT_TRUE(CreateDevice(config_, again));
  EXPECT_EQ(ReadLabel(config_)->pool_id, 8u);
}

TEST_F(NvmeDevice, RemovingWipesTheLabel) {
  Create();
  EXPECT_FALSE(RemoveDevice(config_, 8));
  ASSERT_TRUE(RemoveDevice(config_, 7));
  EXPECT_EQ(OpenDevice(config_).error().status, Status::kNotFound);
  EXPECT_TRUE(CreateDevice(config_, Creation(8)));
}

TEST_F(NvmeDevice, ALabelLargerThanTheDriveIsRefused) {
  Label label{.pool_id = 7, .device_id = 70, .capacity_bytes = std::uint64_t{1} << 40};
  std::array<std::byte, kLabelBytes> page;
  EncodeLabel(label, page);
  ASSERT_TRUE(NvmeDrive::Open(config_.path, RawAccess::kHold).value()->Write(0, page));
  config_.capacity_bytes = 0;
  ExpectRefused(OpenDevice(config_), "has shrunk");
}

TEST_F(NvmeDevice, WhatIsNoNamespaceIsRefused) {
  for (const char* path : {"/dev/null", "/dev/nvme0", "/proc/self/mem", "/dev/loop0"}) {
    config_.path = path;
    ExpectRefused(OpenDevice(config_), "not an NVMe namespace");
  }
  config_.path = "/dev/ng99n1";
  EXPECT_EQ(OpenDevice(config_).error().status, Status::kNotFound);
}

TEST_F(NvmeDevice, KindDriveTakesPassthroughByEitherName) {
  Create();
  config_.kind = DeviceKind::kDrive;
  for (const std::string& path : {TestDrives()[0], BlockNode(TestDrives()[0])}) {
    config_.path = path;
    auto device = OpenDevice(config_);
    ASSERT_TRUE(device) << device.error().message;
    EXPECT_EQ((*device)->traits().kind, "nvme");
    EXPECT_NE((*device)->traits().description.find("nvme chosen"), std::string::npos);
  }
}

TEST_F(NvmeDevice, KindDriveTakesTheBlockLayerWherePassthroughIsRefused) {
  Create();
  config_.kind = DeviceKind::kDrive;
  ASSERT_EQ(::chmod(TestDrives()[0].c_str(), 0400), 0);
  ASSERT_EQ(::chmod(BlockNode(TestDrives()[0]).c_str(), 0666), 0);
  ASSERT_EQ(::seteuid(65534), 0);
  auto device = OpenDevice(config_);
  ASSERT_EQ(::seteuid(0), 0);
  ASSERT_TRUE(device) << device.error().message;
  EXPECT_EQ((*device)->traits().kind, "block");
  const std::string& description = (*device)->traits().description;
  EXPECT_NE(description.find("block chosen for kind drive: this user"), std::string::npos)
      << description;
}

TEST_F(NvmeDevice, AUserWithoutTheRightIsTold) {
  Create();
  ASSERT_EQ(::seteuid(65534), 0);
  const auto opened = OpenDevice(config_);
  ASSERT_EQ(::seteuid(0), 0);
  ExpectRefused(opened, "this user may not send commands");
}

// As many reads of the first MiB as `into` has room for.
std::vector<std::unique_ptr<TestIo>> SubmitReads(Owner& owner, Buffer& into) {
  std::vector<std::unique_ptr<TestIo>> ios;
  std::vector<Io*> all;
  for (std::size_t at = 0; at < into.size(); at += kMiB) {
    ios.push_back(std::make_unique<TestIo>(Op::kRead, 0, std::vector{into.Part(at, kMiB)}));
    all.push_back(ios.back().get());
  }
  EXPECT_EQ(owner.queue().Submit(all), all.size());
  return ios;
}

// A controller that is reset answers what it had with an abort; passthrough is not tried again by
// the kernel.
TEST_F(NvmeDevice, AResetInTheMiddleLosesNothing) {
  Create();
  auto device = OpenDevice(config_).value();
  Owner owner(*device);
  Buffer out(4 * kMiB);
  out.Fill(21);
  TestIo write(Op::kWrite, 0, {out.Part(0, kMiB)});
  ASSERT_EQ(owner.Run(write), Status::kOk);
  Buffer in(32 * kMiB);
  for (int round = 0; round < 3; ++round) {
    const auto ios = SubmitReads(owner, in);
    std::thread reset([this] { std::ofstream(ControllerFolder() + "/reset_controller") << "1\n"; });
    const std::size_t back = owner.Wait(32).size();
    reset.join();
    ASSERT_EQ(back, 32u);
    for (std::size_t i = 0; i < 32; ++i) {
      EXPECT_EQ(ios[i]->status, Status::kOk) << round << " " << i;
      EXPECT_TRUE(std::equal(out.data(), out.data() + kMiB, in.data() + i * kMiB));
    }
  }
}

// Linux before 6.5 may follow a wild pointer when it takes back polled commands: docs/nvme.md.
bool TakesBackPolledCommands() {
  utsname name{};
  int major = 0;
  int minor = 0;
  ::uname(&name);
  std::sscanf(name.release, "%d.%d", &major, &minor);
  return std::pair(major, minor) >= std::pair(6, 5);
}

TEST_F(NvmeDevice, AProcessThatDiesWithIosUnderWayFreesTheDrive) {
  Create();
  if (OpenDevice(config_).value()->traits().needs_polling && !TakesBackPolledCommands()) {
    GTEST_SKIP() << "this kernel cannot take back polled commands: use Linux 6.5 or later";
  }
  for (int round = 0; round < 3; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      auto device = OpenDevice(config_).value();
      Owner owner(*device);
      Buffer in(32 * kMiB);
      SubmitReads(owner, in);
      ::raise(SIGKILL);
    }
    int status = 0;
    ASSERT_TRUE(Insist([&] { return ::waitpid(child, &status, WNOHANG) == child; }));
    EXPECT_TRUE(WIFSIGNALED(status));
    auto device = OpenDevice(config_);
    ASSERT_TRUE(device) << device.error().message;
  }
}

// Named to run last: the drive comes back by a scan of the bus, perhaps under another number.
TEST_F(NvmeDevice, ZRemovalInTheMiddleEndsEveryIo) {
  Create();
  {
    auto device = OpenDevice(config_).value();
    Owner owner(*device);
    Buffer in(32 * kMiB);
    const auto ios = SubmitReads(owner, in);
    // The kernel ends it when what is under way has ended, which with poll queues takes our
    // polling.
    std::thread removal([this] { std::ofstream(ControllerFolder() + "/device/remove") << "1\n"; });
    const std::size_t back = owner.Wait(32).size();
    removal.join();
    ASSERT_EQ(back, 32u);
    for (const auto& io : ios) {
      EXPECT_TRUE(io->status == Status::kOk || io->status == Status::kIoError);
    }
    TestIo after(Op::kRead, 0, {in.Part(0, kMiB)});
    EXPECT_EQ(owner.Run(after), Status::kIoError);
    TestIo flush(Op::kFlush, 0, {});
    EXPECT_EQ(owner.Run(flush), Status::kIoError);
  }
  std::ofstream("/sys/bus/pci/rescan") << "1\n";
  EXPECT_TRUE(Insist([&] { return ReadLabel(config_).has_value(); }));
}

TEST(NvmeDrives, MetadataIsRefusedAndBlocksOf4KiBAreNot) {
  if (TestDrives().size() < 3) GTEST_SKIP() << "no drives with larger blocks and with metadata";
  const auto large = NvmeDrive::Open(TestDrives()[1], RawAccess::kHold);
  ASSERT_TRUE(large) << large.error().message;
  EXPECT_EQ((*large)->facts().logical_block_bytes, 4096u);
  EXPECT_EQ((*large)->limits().max_bytes, 128 * kKiB);
  const auto metadata = NvmeDrive::Open(TestDrives()[2], RawAccess::kHold);
  ASSERT_FALSE(metadata);
  EXPECT_EQ(metadata.error().status, Status::kUnsupported);
  EXPECT_NE(metadata.error().message.find("metadata"), std::string::npos);
}

}  // namespace
}  // namespace kvpool::device
