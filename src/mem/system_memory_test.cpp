#include "mem/system_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/limits.h"

namespace kvpool::mem {
namespace {

namespace fs = std::filesystem;

// A root folder with the files of proc and sysfs that a test puts there.
class FixtureRoot : public ::testing::Test {
 protected:
  FixtureRoot() {
    std::string name = (fs::temp_directory_path() / "kvpool-mem-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    Put("proc/meminfo", "MemTotal:  8388608 kB\nMemFree: 1048576 kB\nMemAvailable:  4194304 kB\n");
  }
  ~FixtureRoot() override { fs::remove_all(root_); }

  void Put(const fs::path& path, std::string_view text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void PutV1(std::string_view group, std::string_view limit, std::string_view used,
             std::string_view stat = "") {
    const auto folder = fs::path("sys/fs/cgroup/memory") / group;
    Put(folder / "memory.limit_in_bytes", limit);
    Put(folder / "memory.usage_in_bytes", used);
    Put(folder / "memory.stat", stat);
  }
  void PutV2(std::string_view group, std::string_view limit, std::string_view used,
             std::string_view stat = "") {
    const auto folder = fs::path("sys/fs/cgroup") / group;
    Put(folder / "memory.max", limit);
    Put(folder / "memory.current", used);
    Put(folder / "memory.stat", stat);
  }

  static constexpr const char* kV1Mounts =
      "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
      "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
      "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";
  static constexpr const char* kV2Mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

  fs::path root_;
};

TEST(FieldBytes, ReadsTheForms) {
  EXPECT_EQ(FieldBytes("A: 1 kB\nMemFree:   12 kB\n", "MemFree"), 12 * kKiB);
  EXPECT_EQ(FieldBytes("Node 0 MemFree:   12 kB\n", "MemFree"), 12 * kKiB);
  EXPECT_EQ(FieldBytes("XMemFree: 1 kB\n", "MemFree"), std::nullopt);
  EXPECT_EQ(FieldBytes("MemFree:\n", "MemFree"), std::nullopt);
  EXPECT_EQ(FieldBytes("MemFree: x\n", "MemFree"), std::nullopt);
  EXPECT_EQ(FieldBytes("HugePages_Free:  3", "HugePages_Free"), 3u);
  EXPECT_EQ(FieldBytes("", "MemFree"), std::nullopt);
}

TEST_F(FixtureRoot, WithoutCgroupTheMachineDecides) {
  EXPECT_EQ(AvailableMemoryUnder(root_), 4 * kGiB);
}

TEST_F(FixtureRoot, NoFilesAtAllMeanNothingAvailable) {
  EXPECT_EQ(AvailableMemoryUnder(root_ / "absent"), 0u);
}

TEST_F(FixtureRoot, V1LimitLessWhatIsUsedCounts) {
  Put("proc/self/cgroup", "5:cpu:/x\n4:memory:/a/b\n0::/\n");
  Put("proc/self/mountinfo", kV1Mounts);
  PutV1("a/b", "1073741824", "536870912", "cache 5\ntotal_inactive_file 268435456\n");
  EXPECT_EQ(AvailableMemoryUnder(root_), 768 * kMiB);
}

TEST_F(FixtureRoot, AnAncestorsLimitCounts) {
  Put("proc/self/cgroup", "4:memory:/a/b\n");
  Put("proc/self/mountinfo", kV1Mounts);
  PutV1("a/b", "9223372036854771712", "0");
  PutV1("a", "100000", "0");
  EXPECT_EQ(AvailableMemoryUnder(root_), 100000u);
  PutV1("", "50000", "20000");
  EXPECT_EQ(AvailableMemoryUnder(root_), 30000u);
}

TEST_F(FixtureRoot, V2LimitsCountAndMaxIsNone) {
  Put("proc/self/cgroup", "0::/user/job\n");
  Put("proc/self/mountinfo", kV2Mounts);
  PutV2("user/job", "max", "123");
  EXPECT_EQ(AvailableMemoryUnder(root_), 4 * kGiB);
  PutV2("user", "2097152", "1048576", "inactive_file 524288\n");
  EXPECT_EQ(AvailableMemoryUnder(root_), 1536 * kKiB);
}

TEST_F(FixtureRoot, UseBeyondTheLimitLeavesNothing) {
  Put("proc/self/cgroup", "0::/job\n");
  Put("proc/self/mountinfo", kV2Mounts);
  PutV2("job", "1000", "2000");
  EXPECT_EQ(AvailableMemoryUnder(root_), 0u);
}

TEST_F(FixtureRoot, AContainersMountStartsAtItsOwnGroup) {
  Put("proc/self/cgroup", "4:memory:/docker/abc/inner\n");
  Put("proc/self/mountinfo",
      "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  PutV1("inner", "9223372036854771712", "0");
  PutV1("", "4096", "0");
  EXPECT_EQ(AvailableMemoryUnder(root_), 4096u);
}

TEST(CgroupPlaces, APathOutsideTheMountStandsAtItsTop) {
  const auto places =
      CgroupPlaces("0::/../elsewhere\n", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  ASSERT_EQ(places.size(), 1u);
  EXPECT_EQ(places[0].path, ".");
}

TEST(CgroupPlaces, NonsenseIsIgnored) {
  EXPECT_TRUE(CgroupPlaces("nonsense\n:\n::\n", "a b - c\n\n-\n").empty());
}

TEST_F(FixtureRoot, NodesWithMemoryAscending) {
  Put("sys/devices/system/node/node10/meminfo",
      "Node 10 MemTotal: 2048 kB\nNode 10 MemFree: 1024 kB\nNode 10 Active(file): 8 kB\n"
      "Node 10 Inactive(file): 16 kB\n");
  Put("sys/devices/system/node/node2/meminfo", "Node 2 MemTotal: 4096 kB\nNode 2 MemFree: 1 kB\n");
  Put("sys/devices/system/node/node3/meminfo", "Node 3 MemTotal: 0 kB\n");
  Put("sys/devices/system/node/possible", "0-10");
  const auto nodes = MemoryNodesUnder(root_);
  ASSERT_EQ(nodes.size(), 2u);
  EXPECT_EQ(nodes[0].node, 2);
  EXPECT_EQ(nodes[1].node, 10);
  EXPECT_EQ(nodes[1].total_bytes, 2048 * kKiB);
  EXPECT_EQ(nodes[1].free_bytes, (1024 + 8 + 16) * kKiB);
}

TEST_F(FixtureRoot, WithoutNumaThereIsNodeZero) {
  const auto nodes = MemoryNodesUnder(root_);
  ASSERT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes[0].node, 0);
  EXPECT_EQ(nodes[0].total_bytes, 8 * kGiB);
  EXPECT_EQ(nodes[0].free_bytes, 4 * kGiB);
}

TEST(TransparentHugeBytes, CountsOnlyTheRange) {
  const char* smaps =
      "7f0000000000-7f0000400000 rw-p 00000000 00:00 0 \n"
      "Rss:                4096 kB\nAnonHugePages:      4096 kB\n"
      "7f0000800000-7f0000c00000 rw-s 00000000 00:01 5  /memfd:kvpool (deleted)\n"
      "AnonHugePages:      0 kB\nShmemPmdMapped:     2048 kB\n"
      "7fff00000000-7fff00400000 rw-p 00000000 00:00 0  [stack]\nAnonHugePages:      4096 kB\n";
  EXPECT_EQ(TransparentHugeBytes(smaps, 0x7f0000000000, 0x7f0000400000), 4 * kMiB);
  EXPECT_EQ(TransparentHugeBytes(smaps, 0x7f0000000000, 0x7f0000200000), 2 * kMiB);
  EXPECT_EQ(TransparentHugeBytes(smaps, 0x7f0000800000, 0x7f0000c00000), 2 * kMiB);
  EXPECT_EQ(TransparentHugeBytes(smaps, 0x7f0000400000, 0x7f0000800000), 0u);
}

}  // namespace
}  // namespace kvpool::mem
