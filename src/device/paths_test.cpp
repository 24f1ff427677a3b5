#include "device/paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvpool::device {
namespace {

using ::testing::HasSubstr;

Result<void> Possible(const MachineDrive&) { return {}; }
Result<void> Impossible(const MachineDrive&) { return Fail(Status::kInvalid, "it is not so"); }

MachineDrive Drive() {
  MachineDrive drive;
  drive.name = "nvme0n1";
  drive.block = "/dev/nvme0n1";
  drive.character = "/dev/ng0n1";
  drive.bytes = 1 << 30;
  return drive;
}

std::string Chosen(const MachineDrive& drive, const PathChecks& checks) {
  std::string chosen;
  for (const DrivePath& path : PathsOf(drive, checks)) {
    EXPECT_EQ(path.possible(), path.needs.empty());
    if (path.chosen) chosen += path.kind;
  }
  return chosen;
}

TEST(PathsOf, TakesTheFirstThatIsPossible) {
  EXPECT_EQ(Chosen(Drive(), {Possible, Possible, Possible}), "spdk");
  EXPECT_EQ(Chosen(Drive(), {Impossible, Possible, Possible}), "nvme");
  EXPECT_EQ(Chosen(Drive(), {Impossible, Impossible, Possible}), "block");
  EXPECT_EQ(Chosen(Drive(), {Impossible, Impossible, Impossible}), "");
}

TEST(PathsOf, SaysWhatIsMissing) {
  const auto paths = PathsOf(Drive(), {Impossible, Possible, Possible});
  EXPECT_EQ(paths[0].kind, "spdk");
  EXPECT_EQ(paths[0].needs, "it is not so");
  EXPECT_EQ(paths[3].kind, "file");
  EXPECT_THAT(paths[3].needs, HasSubstr("no filesystem"));
}

TEST(PathsOf, AMountedDriveIsLeftToItsFilesystem) {
  MachineDrive drive = Drive();
  drive.mounts = {"/mnt/a"};
  EXPECT_EQ(Chosen(drive, {Possible, Possible, Possible}), "file");
  EXPECT_THAT(PathsOf(drive, {Possible, Possible, Possible})[1].needs,
              HasSubstr("mounted on /mnt/a"));
}

TEST(PathsOf, WhatIsHeldOrPartitionedIsNotTakenWhole) {
  MachineDrive drive = Drive();
  drive.partitioned = true;
  EXPECT_EQ(Chosen(drive, {Possible, Possible, Possible}), "");
  EXPECT_THAT(PathsOf(drive, {Possible, Possible, Possible})[2].needs,
              HasSubstr("kvpool format /dev/nvme0n1"));
  drive.held = true;
  EXPECT_THAT(PathsOf(drive, {Possible, Possible, Possible})[2].needs, HasSubstr("array"));
}

TEST(PathsOf, RealChecksTellWhatKindOfDriveItIs) {
  MachineDrive disk;
  disk.name = "sda";
  disk.block = "/dev/kvpool-no-such-drive";
  auto paths = PathsOf(disk, PathChecks::Real());
  EXPECT_THAT(paths[0].needs, HasSubstr("no NVMe drive on PCIe"));
  EXPECT_THAT(paths[1].needs, HasSubstr("no NVMe drive"));
  EXPECT_THAT(paths[2].needs, HasSubstr("may not read and write"));
  MachineDrive away;
  away.name = away.pci_address = "0000:00:04.0";
  away.driver = "vfio-pci";
  paths = PathsOf(away, PathChecks::Real());
  EXPECT_THAT(paths[2].needs, HasSubstr("no block device"));
}

}  // namespace
}  // namespace kvpool::device
