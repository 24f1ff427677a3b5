#include "bench/probe/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace kvpool::probe {
namespace {

namespace fs = std::filesystem;

// A /sys/block and a mountinfo of our own.
class MachineTest : public testing::Test {
 protected:
  MachineTest() {
    std::string name = (fs::temp_directory_path() / "kvpool-XXXXXX").string();
    root_ = mkdtemp(name.data());
    files_ = {.sys_block = root_ / "block", .mountinfo = root_ / "mountinfo"};
    fs::create_directories(files_.sys_block);
  }
  ~MachineTest() override { fs::remove_all(root_); }

  void Write(const fs::path& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void AddDisk(const std::string& name, const std::string& sectors, const std::string& device) {
    Write("block/" + name + "/size", sectors + "\n");
    Write("block/" + name + "/dev", device + "\n");
  }

  fs::path root_;
  MachineFiles files_;
};

TEST_F(MachineTest, ListsDrivesByNameWithSizeModelAndNode) {
  AddDisk("nvme1n1", "4096", "259:1");
  AddDisk("nvme0n1", "2048", "259:0");
  Write("block/nvme0n1/device/model", "Fast Drive 9000    \n");
  Write("block/nvme0n1/device/numa_node", "1\n");
  const std::vector<Drive> drives = Drives(files_);
  ASSERT_EQ(drives.size(), 2u);
  EXPECT_EQ(drives[0].name, "nvme0n1");
  EXPECT_EQ(drives[0].path, "/dev/nvme0n1");
  EXPECT_EQ(drives[0].bytes, 1u << 20);
  EXPECT_EQ(drives[0].model, "Fast Drive 9000");
  EXPECT_EQ(drives[0].numa_node, 1);
  EXPECT_FALSE(drives[0].in_use());
  EXPECT_EQ(drives[1].numa_node, -1);
}

TEST_F(MachineTest, LeavesOutEmptyAndMemoryDisks) {
  AddDisk("loop0", "0", "7:0");
  AddDisk("zram0", "4096", "253:0");
  AddDisk("ram0", "4096", "1:0");
  EXPECT_TRUE(Drives(files_).empty());
}

TEST_F(MachineTest, FindsMountsOfADriveAndItsPartitions) {
  AddDisk("sda", "4096", "8:0");
  Write("block/sda/sda1/partition", "1\n");
  Write("block/sda/sda1/dev", "8:1\n");
  AddDisk("sdb", "4096", "8:16");
  Write("mountinfo",
        "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "22 1 8:16 / /mnt/two\\040words rw - xfs /dev/sdb rw\n"
        "nonsense\n");
  const std::vector<Drive> drives = Drives(files_);
  ASSERT_EQ(drives.size(), 2u);
  EXPECT_TRUE(drives[0].partitioned);
  EXPECT_THAT(drives[0].mounts, testing::ElementsAre("/"));
  EXPECT_FALSE(drives[1].partitioned);
  EXPECT_THAT(drives[1].mounts, testing::ElementsAre("/mnt/two words"));
  EXPECT_TRUE(drives[1].in_use());
}

TEST_F(MachineTest, ADriveHeldByAnotherDeviceIsInUse) {
  AddDisk("sda", "4096", "8:0");
  Write("block/sda/holders/dm-0/size", "1\n");
  ASSERT_EQ(Drives(files_).size(), 1u);
  EXPECT_TRUE(Drives(files_)[0].in_use());
}

TEST_F(MachineTest, NamesTheFilesystemOfAFolder) {
  const auto found = FilesystemOf(root_);
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->type.empty());
  EXPECT_GT(found->free_bytes, 0u);
}

TEST_F(MachineTest, AFolderThatIsNotThereIsAnError) {
  const auto found = FilesystemOf(root_ / "absent");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().status, Status::kInvalid);
}

}  // namespace
}  // namespace kvpool::probe
