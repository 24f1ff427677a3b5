#include "device/spdk/pci.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "device/test_support.h"

namespace kvpool::device {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr const char* kAddress = "0000:00:04.0";

// A made-up /sys and /dev with one PCI device.
class PciDrive : public ::testing::Test {
 protected:
  PciDrive() { fs::create_directories(Folder()); }

  fs::path Folder() const { return root_.path() / "sys/bus/pci/devices" / kAddress; }
  void Write(const fs::path& file, const char* text) {
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  void Link(const char* name, const char* target) {
    fs::create_symlink(fs::path("../somewhere") / target, Folder() / name);
  }
  void Vfio() {
    Write(Folder() / "class", "0x010802");
    Link("driver", "vfio-pci");
    Link("iommu_group", "12");
    Write(root_.path() / "sys/module/vfio_iommu_type1/parameters/x", "");
    Write(root_.path() / "dev/vfio/vfio", "");
    Write(root_.path() / "dev/vfio/12", "");
  }
  Result<void> Check(const char* address = kAddress) {
    return CheckPciDrive(address, root_.path());
  }
  void Refused(Status status, const char* named) {
    const auto checked = Check();
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().status, status);
    EXPECT_THAT(checked.error().message, HasSubstr(named));
  }

  ScratchFolder root_;
};

TEST_F(PciDrive, BoundToVfioItCanBeUsed) {
  Vfio();
  EXPECT_TRUE(Check());
}

TEST_F(PciDrive, AWrongAddress) {
  const auto checked = Check("0000:00:05.0");
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().status, Status::kNotFound);
  EXPECT_THAT(checked.error().message, HasSubstr("no PCI device 0000:00:05.0"));
}

TEST_F(PciDrive, AnotherKindOfDevice) {
  Write(Folder() / "class", "0x020000");
  Refused(Status::kInvalid, "no NVMe controller");
}

TEST_F(PciDrive, TheKernelsDriverHasIt) {
  Write(Folder() / "class", "0x010802");
  Link("driver", "nvme");
  Refused(Status::kInvalid, "the kernel's driver nvme");
  Refused(Status::kInvalid, "echo vfio-pci > /sys/bus/pci/devices/0000:00:04.0/driver_override");
}

TEST_F(PciDrive, NoDriverHasIt) {
  Write(Folder() / "class", "0x010802");
  Refused(Status::kInvalid, "bound to no driver");
}

TEST_F(PciDrive, NoIommu) {
  Write(Folder() / "class", "0x010802");
  Link("driver", "vfio-pci");
  Refused(Status::kUnsupported, "no IOMMU group");
}

TEST_F(PciDrive, NoVfio) {
  Vfio();
  fs::remove(root_.path() / "dev/vfio/vfio");
  Refused(Status::kUnsupported, "there is no /dev/vfio/vfio");
}

TEST_F(PciDrive, NoMappingsForVfio) {
  Vfio();
  fs::remove_all(root_.path() / "sys/module/vfio_iommu_type1");
  Refused(Status::kUnsupported, "modprobe vfio_iommu_type1");
}

TEST_F(PciDrive, NoPermission) {
  Vfio();
  fs::remove(root_.path() / "dev/vfio/12");  // root may open everything that is there
  Refused(Status::kInvalid, "/dev/vfio/12, which 0000:00:04.0 needs");
}

TEST_F(PciDrive, TheNumaNodeIsRead) {
  EXPECT_EQ(NumaNodeOfPci(kAddress, root_.path()), -1);
  Write(Folder() / "numa_node", "1");
  EXPECT_EQ(NumaNodeOfPci(kAddress, root_.path()), 1);
}

}  // namespace
}  // namespace kvpool::device
