#include "mem/region.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/limits.h"

namespace kvpool::mem {
namespace {

TEST(Region, IsAlignedRoundedAndZero) {
  for (const bool shareable : {false, true}) {
    auto region = Region::Make({.bytes = 3 * kMiB, .shareable = shareable});
    ASSERT_TRUE(region) << region.error().message;
    const auto bytes = (*region)->bytes();
    EXPECT_EQ(bytes.size(), 4 * kMiB);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes.data()) % (2 * kMiB), 0u);
    EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](auto b) { return b == std::byte{0}; }));
    EXPECT_EQ((*region)->fd() >= 0, shareable);
    EXPECT_FALSE((*region)->description().empty());
    EXPECT_EQ((*region)->numa_node(), -1);
  }
}

TEST(Region, AnotherMappingOfTheDescriptorSeesTheSameBytes) {
  auto region = Region::Make({.bytes = 2 * kMiB});
  ASSERT_TRUE(region) << region.error().message;
  auto bytes = (*region)->bytes();
  void* other = ::mmap(nullptr, bytes.size(), PROT_READ, MAP_SHARED, (*region)->fd(), 0);
  ASSERT_NE(other, MAP_FAILED);
  std::memset(bytes.data() + 12345, 0x5a, 100);
  EXPECT_EQ(std::memcmp(static_cast<std::byte*>(other) + 12345, bytes.data() + 12345, 100), 0);
  ::munmap(other, bytes.size());
}

TEST(Region, IsAdoptedByItsDescriptorAlone) {
  auto region = Region::Make({.bytes = 2 * kMiB});
  ASSERT_TRUE(region) << region.error().message;
  auto other = Region::Adopt(::dup((*region)->fd()), 2 * kMiB);
  ASSERT_TRUE(other) << other.error().message;
  (*other)->bytes()[777] = std::byte{0x5a};
  EXPECT_EQ((*region)->bytes()[777], std::byte{0x5a});
  EXPECT_NE(::ftruncate((*region)->fd(), 4096), 0);  // or touching it could kill
}

TEST(Region, WhatCouldShrinkIsNotAdopted) {
  const int fd = ::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(::ftruncate(fd, 2 * kMiB), 0);
  const auto open = Region::Adopt(::dup(fd), 2 * kMiB);
  ASSERT_FALSE(open);
  EXPECT_EQ(open.error().status, Status::kInvalid);
  ASSERT_EQ(::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
  EXPECT_TRUE(Region::Adopt(::dup(fd), 2 * kMiB));
  EXPECT_FALSE(Region::Adopt(::dup(fd), 4 * kMiB));  // more than is there
  EXPECT_FALSE(Region::Adopt(::open("/dev/zero", O_RDWR), 2 * kMiB));
  ::close(fd);
}

TEST(Region, TooFewDescriptorsAreNamed) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{3, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto region = Region::Make({.bytes = 2 * kMiB, .shareable = true});
  ::setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_FALSE(region);
  EXPECT_EQ(region.error().status, Status::kNoSpace);
  EXPECT_NE(region.error().message.find("ulimit -n"), std::string::npos) << region.error().message;
}

TEST(Region, PopulatedMeansResident) {
  for (const bool populate : {false, true}) {
    auto region =
        Region::Make({.bytes = 8 * kMiB, .shareable = false, .lock = false, .populate = populate});
    ASSERT_TRUE(region) << region.error().message;
    if ((*region)->page_kind() == PageKind::kHuge) continue;  // always populated
    const auto bytes = (*region)->bytes();
    std::vector<unsigned char> resident(bytes.size() / 4096);
    ASSERT_EQ(::mincore(bytes.data(), bytes.size(), resident.data()), 0);
    const auto count =
        std::count_if(resident.begin(), resident.end(), [](auto r) { return r & 1; });
    EXPECT_EQ(count, populate ? static_cast<long>(resident.size()) : 0);
  }
}

TEST(Region, EveryNodeOfTheMachineCanBeAskedFor) {
  for (const auto& node : MemoryNodes()) {
    auto region = Region::Make({.bytes = 2 * kMiB, .numa_node = node.node});
    ASSERT_TRUE(region) << region.error().message;
    EXPECT_TRUE((*region)->numa_node() == node.node ||
                (*region)->description().find("not bound") != std::string::npos);
  }
}

TEST(Region, RefusesANodeThatIsNotThere) {
  for (const int node : {1000, 5000, -7}) {
    auto region = Region::Make({.bytes = 2 * kMiB, .numa_node = node});
    ASSERT_FALSE(region);
    EXPECT_EQ(region.error().status, Status::kInvalid);
    EXPECT_NE(region.error().message.find("nodes are"), std::string::npos);
  }
}

TEST(Region, RefusesMoreThanThereIs) {
  for (const bool shareable : {false, true}) {
    auto region = Region::Make({.bytes = AvailableMemory() + 64 * kGiB, .shareable = shareable});
    ASSERT_FALSE(region);
    EXPECT_EQ(region.error().status, Status::kNoSpace);
  }
  EXPECT_EQ(Region::Make({.bytes = 0}).error().status, Status::kInvalid);
  EXPECT_EQ(Region::Make({.bytes = ~std::uint64_t{0}}).error().status, Status::kInvalid);
}

TEST(Region, SaysWhyItIsNotLocked) {
  rlimit before{};
  ::getrlimit(RLIMIT_MEMLOCK, &before);
  const rlimit none{0, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_MEMLOCK, &none), 0);
  auto region = Region::Make({.bytes = 2 * kMiB});
  ::setrlimit(RLIMIT_MEMLOCK, &before);
  ASSERT_TRUE(region) << region.error().message;
  if ((*region)->locked()) GTEST_SKIP() << "this user may lock memory beyond the limit";
  EXPECT_NE((*region)->description().find("ulimit -l"), std::string::npos);
}

TEST(Region, NotAskedToLockItDoesNotComplain) {
  auto region = Region::Make({.bytes = 2 * kMiB, .lock = false});
  ASSERT_TRUE(region);
  EXPECT_EQ((*region)->description().find("not locked"), std::string::npos);
}

TEST(MemoryNodes, ThisMachineHasOne) {
  const auto nodes = MemoryNodes();
  ASSERT_FALSE(nodes.empty());
  EXPECT_GT(nodes[0].total_bytes, 0u);
  EXPECT_GT(AvailableMemory(), 0u);
}

}  // namespace
}  // namespace kvpool::mem
