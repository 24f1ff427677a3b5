#include "device/nvme/nodes.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <fstream>

#include "device/test_support.h"

namespace kvpool::device {
namespace {

namespace fs = std::filesystem;

// A sysfs with one controller and one namespace, laid out as the kernel's.
class NvmeNodesTest : public ::testing::Test {
 protected:
  NvmeNodesTest() {
    fs::create_directories(sys() / "dev/char");
    fs::create_directories(sys() / "dev/block");
    Add("ng0n1", "char", "244:1");
    Add("nvme0n1", "block", "259:1");
    Write("nvme0n1/queue/max_hw_sectors_kb", "1024");
    Write("nvme0n1/queue/max_segments", "127");
    Write("nvme0n1/queue/io_poll", "0");
    Write("numa_node", "1");
  }

  fs::path sys() const { return folder_ / "sys"; }
  fs::path controller() const { return sys() / "devices/pci0000:00/0000:00:04.0/nvme/nvme0"; }
  void Write(const char* file, const char* text) {
    fs::create_directories((controller() / file).parent_path());
    std::ofstream(controller() / file) << text << '\n';
  }
  void Add(const char* name, const char* type, const char* number) {
    fs::create_directories(controller() / name);
    fs::create_directory_symlink(controller() / name, sys() / "dev" / type / number);
  }
  Result<NvmeNodes> Find(mode_t mode, unsigned high, unsigned low) const {
    return FindNvmeNodes({mode, makedev(high, low)}, "/dev/it", sys());
  }

  ScratchFolder folder_;
};

TEST_F(NvmeNodesTest, EitherNodeLeadsToBoth) {
  for (const auto& found : {Find(S_IFCHR, 244, 1), Find(S_IFBLK, 259, 1)}) {
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(found->character, "ng0n1");
    EXPECT_EQ(found->block, "nvme0n1");
    EXPECT_EQ(found->numa_node, 1);
    EXPECT_EQ(found->max_bytes, kMiB);
    EXPECT_EQ(found->max_segments, 127u);
    EXPECT_FALSE(found->polls);
  }
}

TEST_F(NvmeNodesTest, PollQueuesAreSeen) {
  Write("nvme0n1/queue/io_poll", "1");
  EXPECT_TRUE(Find(S_IFCHR, 244, 1)->polls);
}

TEST_F(NvmeNodesTest, ANamespaceMayHaveNoBlockDevice) {
  fs::remove_all(controller() / "nvme0n1");
  const auto found = Find(S_IFCHR, 244, 1);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->block, "");
  EXPECT_EQ(found->max_bytes, 0u);
}

TEST_F(NvmeNodesTest, WhatIsNoNamespaceIsRefused) {
  Add("nvme0", "char", "245:0");
  Add("ng0n1p1", "char", "244:9");
  Add("sda", "block", "8:0");
  for (const auto& found : {Find(S_IFCHR, 245, 0), Find(S_IFCHR, 244, 9), Find(S_IFBLK, 8, 0),
                            Find(S_IFCHR, 1, 3), Find(S_IFREG, 0, 0), Find(S_IFIFO, 0, 0)}) {
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().status, Status::kInvalid);
    EXPECT_NE(found.error().message.find("not an NVMe namespace"), std::string::npos);
  }
}

TEST_F(NvmeNodesTest, APartitionIsRefused) {
  Add("nvme0n1/nvme0n1p1", "block", "259:2");
  Write("nvme0n1/nvme0n1p1/partition", "1");
  const auto found = Find(S_IFBLK, 259, 2);
  ASSERT_FALSE(found);
  EXPECT_NE(found.error().message.find("is a partition"), std::string::npos);
}

TEST_F(NvmeNodesTest, AnOldKernelMakesNoCharacterDevice) {
  fs::remove_all(controller() / "ng0n1");
  const auto found = Find(S_IFBLK, 259, 1);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().status, Status::kUnsupported);
}

}  // namespace
}  // namespace kvpool::device
