#include "device/machine.h"

#include <gmock/gmock.h>

#include <fstream>

#include "device/mounts.h"
#include "device/test_support.h"

namespace kvpool::device {
namespace {

namespace fs = std::filesystem;

// A sysfs and a mountinfo of our own.
class MachineTest : public testing::Test {
 protected:
  MachineTest() : files_{.sys = folder_ / "sys", .mountinfo = folder_ / "mountinfo"} {
    fs::create_directories(files_.sys / "block");
  }

  void Write(const fs::path& path, const std::string& text) {
    const fs::path file = folder_.path() / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void Link(const fs::path& target, const fs::path& link) {
    const fs::path place = folder_.path() / link;
    fs::create_directories(place.parent_path());
    fs::create_directory_symlink(folder_.path() / target, place);
  }
  void AddDisk(const std::string& name, const std::string& sectors, const std::string& device) {
    Write("sys/block/" + name + "/size", sectors + "\n");
    Write("sys/block/" + name + "/dev", device + "\n");
  }
  // As the kernel lays out a namespace of a PCIe controller.
  void AddNvme(const std::string& number, const std::string& address) {
    const std::string pci = "sys/devices/pci0000:00/" + address;
    const std::string controller = pci + "/nvme/nvme" + number;
    const std::string name = number + "n1";
    Write(controller + "/transport", "pcie\n");
    Write(controller + "/address", address + "\n");
    Write(controller + "/serial", "drive" + number + "              \n");
    Write(controller + "/model", "QEMU NVMe Ctrl      \n");
    Write(controller + "/numa_node", "1\n");
    Write(controller + "/nvme" + name + "/size", "4096\n");
    Write(controller + "/nvme" + name + "/dev", "259:" + number + "\n");
    Write(controller + "/ng" + name + "/dev", "244:" + number + "\n");
    Link(controller, controller + "/nvme" + name + "/device");
    Link(controller + "/nvme" + name, "sys/block/nvme" + name);
    AddPci(address, "nvme");
  }
  void AddPci(const std::string& address, const std::string& driver) {
    const std::string pci = "sys/devices/pci0000:00/" + address;
    Write(pci + "/class", "0x010802\n");
    Link(pci, "sys/bus/pci/devices/" + address);
    if (!driver.empty()) Link("sys/bus/pci/drivers/" + driver, pci + "/driver");
  }

  ScratchFolder folder_;
  MachineFiles files_;
};

TEST_F(MachineTest, ListsDrivesByNameWithSizeModelAndNode) {
  AddDisk("sdb", "4096", "8:16");
  AddDisk("sda", "2048", "8:0");
  Write("sys/block/sda/device/model", "Fast Drive 9000    \n");
  Write("sys/block/sda/device/numa_node", "1\n");
  const auto drives = FindDrives(files_);
  ASSERT_EQ(drives.size(), 2u);
  EXPECT_EQ(drives[0].name, "sda");
  EXPECT_EQ(drives[0].block, "/dev/sda");
  EXPECT_EQ(drives[0].character, "");
  EXPECT_EQ(drives[0].pci_address, "");
  EXPECT_EQ(drives[0].bytes, 1u << 20);
  EXPECT_EQ(drives[0].model, "Fast Drive 9000");
  EXPECT_EQ(drives[0].numa_node, 1);
  EXPECT_FALSE(drives[0].in_use());
  EXPECT_EQ(drives[1].numa_node, -1);
}

TEST_F(MachineTest, KnowsBothNodesOfANamespaceAndItsController) {
  AddNvme("0", "0000:00:02.0");
  const auto drives = FindDrives(files_);
  ASSERT_EQ(drives.size(), 1u);
  EXPECT_EQ(drives[0].name, "nvme0n1");
  EXPECT_EQ(drives[0].Path(), "/dev/nvme0n1");
  EXPECT_EQ(drives[0].character, "/dev/ng0n1");
  EXPECT_EQ(drives[0].pci_address, "0000:00:02.0");
  EXPECT_EQ(drives[0].driver, "nvme");
  EXPECT_EQ(drives[0].serial, "drive0");
  EXPECT_EQ(drives[0].model, "QEMU NVMe Ctrl");
  EXPECT_EQ(drives[0].numa_node, 1);
}

TEST_F(MachineTest, FindsTheControllerBehindASubsystem) {
  const std::string subsystem = "sys/devices/virtual/nvme-subsystem/nvme-subsys0";
  Write(subsystem + "/nvme0n1/size", "4096\n");
  Write(subsystem + "/ng0n1/dev", "244:0\n");
  const std::string controller = "sys/devices/pci0000:00/0000:00:03.0/nvme/nvme0";
  Write(controller + "/transport", "pcie\n");
  Write(controller + "/address", "0000:00:03.0\n");
  Link(controller, subsystem + "/nvme0");
  Link(subsystem, subsystem + "/nvme0n1/device");
  Link(subsystem + "/nvme0n1", "sys/block/nvme0n1");
  const auto drives = FindDrives(files_);
  ASSERT_EQ(drives.size(), 1u);
  EXPECT_EQ(drives[0].character, "/dev/ng0n1");
  EXPECT_EQ(drives[0].pci_address, "0000:00:03.0");
}

TEST_F(MachineTest, ControllersOfOtherDriversComeLast) {
  AddPci("0000:00:05.0", "vfio-pci");
  AddPci("0000:00:04.0", "");
  AddNvme("0", "0000:00:06.0");
  Write("sys/bus/pci/devices/0000:00:01.0/class", "0x020000\n");
  const auto drives = FindDrives(files_);
  ASSERT_EQ(drives.size(), 3u);
  EXPECT_EQ(drives[0].name, "nvme0n1");
  EXPECT_EQ(drives[1].Path(), "0000:00:04.0");
  EXPECT_EQ(drives[1].driver, "");
  EXPECT_EQ(drives[2].pci_address, "0000:00:05.0");
  EXPECT_EQ(drives[2].driver, "vfio-pci");
  EXPECT_EQ(drives[2].block, "");
}

TEST_F(MachineTest, LeavesOutEmptyAndMemoryDisks) {
  AddDisk("loop0", "0", "7:0");
  AddDisk("zram0", "4096", "253:0");
  AddDisk("ram0", "4096", "1:0");
  EXPECT_TRUE(FindDrives(files_).empty());
}

TEST_F(MachineTest, FindsMountsOfADriveAndItsPartitions) {
  AddDisk("sda", "4096", "8:0");
  Write("sys/block/sda/sda1/partition", "1\n");
  Write("sys/block/sda/sda1/dev", "8:1\n");
  AddDisk("sdb", "4096", "8:16");
  Write("mountinfo",
        "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "22 1 8:16 / /mnt/two\\040words rw - xfs /dev/sdb rw\n"
        "nonsense\n");
  const auto drives = FindDrives(files_);
  ASSERT_EQ(drives.size(), 2u);
  EXPECT_TRUE(drives[0].partitioned);
  EXPECT_THAT(drives[0].mounts, testing::ElementsAre("/"));
  EXPECT_FALSE(drives[1].partitioned);
  EXPECT_THAT(drives[1].mounts, testing::ElementsAre("/mnt/two words"));
  EXPECT_TRUE(drives[1].in_use());
}

TEST_F(MachineTest, ADriveHeldByAnotherDeviceIsInUse) {
  AddDisk("sda", "4096", "8:0");
  Write("sys/block/sda/holders/dm-0/size", "1\n");
  ASSERT_EQ(FindDrives(files_).size(), 1u);
  EXPECT_TRUE(FindDrives(files_)[0].in_use());
}

}  // namespace
}  // namespace kvpool::device
