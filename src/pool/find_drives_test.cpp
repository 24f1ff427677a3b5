#include "pool/find_drives.h"

#include <gmock/gmock.h>

#include <map>

#include "base/limits.h"

namespace kvpool::pool {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::uint64_t kPool = 7;

// A pool file and a machine of our own: what is at which path.
class FindDrivesTest : public ::testing::Test {
 protected:
  FindDrivesTest() {
    source_.read = [this](const DeviceConfig& at) -> Result<device::Label> {
      const auto found = labels_.find(at.Where());
      if (found != labels_.end()) return found->second;
      return Fail(Status::kNotFound, at.Where() + " carries no kvpool label");
    };
    source_.search = [this](std::uint64_t pool_id) {
      ++searches_;
      std::vector<device::LabelledDrive> found;
      for (const auto& [path, label] : labels_) {
        if (label.pool_id != pool_id || !path.starts_with("/dev/nvme")) continue;
        device::LabelledDrive drive{.label = label};
        drive.drive.block = path;
        drive.drive.character = "/dev/ng" + path.substr(9);
        found.push_back(drive);
      }
      return found;
    };
  }

  void Configure(const std::string& name, DeviceKind kind, const std::string& where) {
    DeviceConfig one{.name = name, .kind = kind};
    if (kind == DeviceKind::kSpdk) {
      one.address = where;
    } else {
      one.path = where;
    }
    config_.devices.push_back(one);
  }
  void Put(const std::string& path, std::uint32_t index, const std::string& name,
           std::uint64_t pool_id = kPool) {
    labels_[path] = {.pool_id = pool_id,
                     .device_id = 100 + index,
                     .index = index,
                     .count = static_cast<std::uint32_t>(config_.devices.size()),
                     .capacity_bytes = kSlabBytes,
                     .name = name};
  }
  void TwoDrives(DeviceKind kind = DeviceKind::kBlock) {
    Configure("a", kind, "/dev/nvme0n1");
    Configure("b", kind, "/dev/nvme1n1");
  }
  // "name@path" by index, with a + where it was found elsewhere; or why it is absent.
  std::vector<std::string> Find(std::uint64_t pool_id = 0) {
    const auto found = FindDrives(config_, pool_id, source_);
    if (!found) return {found.error().message};
    std::vector<std::string> all;
    for (const auto& drive : found->by_index) {
      if (drive && drive->absent) {
        all.push_back(drive->config.name + " is absent: " + drive->absent->message);
        continue;
      }
      all.push_back(!drive ? "memory"
                           : drive->config.name + "@" + drive->config.Where() +
                                 (drive->remark.empty() ? "" : "+"));
    }
    return all;
  }

  Config config_;
  std::map<std::string, device::Label> labels_;
  LabelSource source_;
  int searches_ = 0;
};

using Names = std::vector<std::string>;

TEST_F(FindDrivesTest, DrivesAtTheirPathsAreNotSearchedFor) {
  Configure("ram", DeviceKind::kMemory, "");
  TwoDrives();
  Put("/dev/nvme0n1", 1, "a");
  Put("/dev/nvme1n1", 2, "b");
  EXPECT_EQ(Find(), (Names{"memory", "a@/dev/nvme0n1", "b@/dev/nvme1n1"}));
  EXPECT_EQ(searches_, 0);
}

TEST_F(FindDrivesTest, SwappedPathsAreSortedOutByName) {
  TwoDrives();
  Put("/dev/nvme0n1", 1, "b");
  Put("/dev/nvme1n1", 0, "a");
  EXPECT_EQ(Find(), (Names{"a@/dev/nvme1n1+", "b@/dev/nvme0n1+"}));
}

TEST_F(FindDrivesTest, AReorderedPoolFileIsNothingSpecial) {
  TwoDrives();
  Put("/dev/nvme0n1", 1, "a");
  Put("/dev/nvme1n1", 0, "b");
  EXPECT_EQ(Find(), (Names{"b@/dev/nvme1n1", "a@/dev/nvme0n1"}));
}

TEST_F(FindDrivesTest, ARenamedDeviceStaysWhereItIs) {
  TwoDrives();
  Put("/dev/nvme0n1", 0, "old-name");
  Put("/dev/nvme1n1", 1, "b");
  EXPECT_EQ(Find(), (Names{"a@/dev/nvme0n1", "b@/dev/nvme1n1"}));
  EXPECT_EQ(searches_, 0);
}

TEST_F(FindDrivesTest, ADriveThatMovedIsSearchedFor) {
  TwoDrives();
  Put("/dev/nvme0n1", 0, "a");
  Put("/dev/nvme7n1", 1, "b");
  Put("/dev/nvme1n1", 0, "x", 99);  // another pool's came to its path
  EXPECT_EQ(Find(), (Names{"a@/dev/nvme0n1", "b@/dev/nvme7n1+"}));
  labels_.erase("/dev/nvme1n1");
  EXPECT_EQ(Find(), (Names{"a@/dev/nvme0n1", "b@/dev/nvme7n1+"}));
}

TEST_F(FindDrivesTest, TheNodeIsTheOneThatTheKindNeeds) {
  TwoDrives(DeviceKind::kNvme);
  Put("/dev/nvme0n1", 0, "a");
  Put("/dev/nvme7n1", 1, "b");
  EXPECT_EQ(Find(), (Names{"a@/dev/nvme0n1", "b@/dev/ng7n1+"}));
}

TEST_F(FindDrivesTest, WithoutNamesThePositionCounts) {
  TwoDrives();
  Put("/dev/nvme0n1", 0, "");
  Put("/dev/nvme7n1", 1, "");
  EXPECT_EQ(Find(), (Names{"a@/dev/nvme0n1", "b@/dev/nvme7n1+"}));
}

TEST_F(FindDrivesTest, TheCatalogSaysWhichPool) {
  TwoDrives();
  Put("/dev/nvme0n1", 0, "a", 99);
  Put("/dev/nvme1n1", 1, "b", 99);
  Put("/dev/nvme5n1", 0, "a");
  Put("/dev/nvme6n1", 1, "b");
  EXPECT_EQ(Find(kPool), (Names{"a@/dev/nvme5n1+", "b@/dev/nvme6n1+"}));
  EXPECT_EQ(Find(), (Names{"a@/dev/nvme0n1", "b@/dev/nvme1n1"}));
}

TEST_F(FindDrivesTest, WithoutOneTheMostCommonPoolCounts) {
  TwoDrives();
  Configure("c", DeviceKind::kBlock, "/dev/nvme2n1");
  Put("/dev/nvme0n1", 0, "a", 99);
  Put("/dev/nvme1n1", 1, "b");
  Put("/dev/nvme2n1", 2, "c");
  Put("/dev/nvme3n1", 0, "a");
  EXPECT_EQ(Find(), (Names{"a@/dev/nvme3n1+", "b@/dev/nvme1n1", "c@/dev/nvme2n1"}));
}

TEST_F(FindDrivesTest, WhatIsNowhereIsSaid) {
  TwoDrives();
  Put("/dev/nvme0n1", 0, "a");
  EXPECT_THAT(Find()[1],
              AllOf(HasSubstr("b is absent: "), HasSubstr("/dev/nvme1n1 carries no kvpool label"),
                    HasSubstr("no drive of this machine"), HasSubstr("kvpool create")));
}

TEST_F(FindDrivesTest, ADriveOfAnotherPoolIsAbsentWhereTheCatalogSaysWhosePoolItIs) {
  TwoDrives();
  Put("/dev/nvme0n1", 0, "a");
  Put("/dev/nvme1n1", 0, "a", 99);
  EXPECT_THAT(Find(), ElementsAre(HasSubstr("device b at /dev/nvme1n1 belongs to another pool")));
  config_.catalog = "catalog.db";
  EXPECT_THAT(
      Find(kPool),
      ElementsAre("a@/dev/nvme0n1", HasSubstr("device b at /dev/nvme1n1 belongs to another pool")));
}

TEST_F(FindDrivesTest, MixedUpPathsAreRefused) {
  TwoDrives();
  Put("/dev/nvme0n1", 0, "a");
  Put("/dev/nvme1n1", 0, "a");
  EXPECT_THAT(Find(), ElementsAre(HasSubstr("/dev/nvme1n1 is device a of this pool and not b")));
}

TEST_F(FindDrivesTest, AnAbsentDriveStandsWhereNoLabelDoes) {
  TwoDrives();
  Configure("c", DeviceKind::kBlock, "/dev/nvme2n1");
  Put("/dev/nvme0n1", 1, "a");
  Put("/dev/nvme2n1", 0, "c");
  EXPECT_THAT(Find(), ElementsAre("c@/dev/nvme2n1", "a@/dev/nvme0n1", HasSubstr("b is absent")));
}

TEST_F(FindDrivesTest, WithNoDriveLeftTheFirstOneSaysWhy) {
  TwoDrives();
  EXPECT_THAT(Find(), ElementsAre(HasSubstr("/dev/nvme0n1 carries no kvpool label")));
}

TEST_F(FindDrivesTest, CopiesAreRefused) {
  TwoDrives();
  Put("/dev/nvme0n1", 0, "a");
  Put("/dev/nvme1n1", 0, "");
  EXPECT_THAT(Find()[0], HasSubstr("carry the same label"));
  labels_.erase("/dev/nvme1n1");
  Put("/dev/nvme5n1", 1, "b");
  Put("/dev/nvme6n1", 1, "b");
  EXPECT_THAT(Find()[0], HasSubstr("/dev/nvme5n1 and /dev/nvme6n1 carry the same label"));
}

TEST_F(FindDrivesTest, AnotherNumberOfDevicesIsRefused) {
  TwoDrives();
  Put("/dev/nvme0n1", 0, "a");
  Put("/dev/nvme1n1", 1, "b");
  Configure("c", DeviceKind::kBlock, "/dev/nvme2n1");
  EXPECT_THAT(Find()[0], HasSubstr("created with 2 devices, but 3 are configured"));
}

TEST_F(FindDrivesTest, FilesAndAddressesAreNotSearchedFor) {
  Configure("f", DeviceKind::kFile, "/data/f");
  Configure("s", DeviceKind::kSpdk, "trtype:PCIe traddr:1");
  Put("/data/f", 0, "f");
  Put("/dev/nvme1n1", 1, "s");
  EXPECT_THAT(Find()[1], HasSubstr("carries no kvpool label"));
  EXPECT_EQ(searches_, 0);
  Put("trtype:PCIe traddr:1", 1, "s");
  EXPECT_EQ(Find(), (Names{"f@/data/f", "s@trtype:PCIe traddr:1"}));
}

TEST_F(FindDrivesTest, APoolOfMemoryHasNoDrives) {
  Configure("ram", DeviceKind::kMemory, "");
  EXPECT_EQ(Find(), Names{"memory"});
}

}  // namespace
}  // namespace kvpool::pool
