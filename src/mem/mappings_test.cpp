#include "mem/mappings.h"

#include <gtest/gtest.h>

namespace kvpool::mem {
namespace {

constexpr const char* kMaps =
    "00001000-00002000 r-xp 00000000 fe:01 42                 /bin/program\n"
    "00002000-00003000 rw-p 00001000 fe:01 42                 /bin/program\n"
    "00003000-00005000 rw-p 00000000 00:00 0                  [heap]\n"
    "00005000-00007000 rw-p 00000000 00:00 0 \n"
    "00007000-00008000 r--p 00000000 00:00 0 \n"
    "00008000-0000a000 rw-s 00000000 00:01 7                  /memfd:name (deleted)\n"
    "0000a000-0000b000 rw-s 00000000 00:1c 8                  /dev/shm/name\n"
    "0000b000-0000c000 rw-s 00000000 00:10 9                  /memfd:hugepages (deleted)\n"
    "0000c000-0000d000 rw-p 00000000 00:10 9                  /anon_hugepage (deleted)\n"
    "0000d000-0000e000 rw-s 00000000 fe:01 43                 /a file\n"
    "0000e000-0000f000 rw-s 00000000 00:06 44                 /dev/some\n"
    "not a line\n"
    "7ffd3000-7ffd5000 rw-p 00000000 00:00 0                  [vvar]\n";

std::vector<Mapping> Parsed() { return ParseMappings(kMaps, {NumberOf(0, 1), NumberOf(0, 0x1c)}); }

TEST(MappingsTest, AnonymousMemoryIsPrivateAlsoOverNeighbours) {
  EXPECT_EQ(KindOf(Parsed(), 0x3000, 0x7000), MappingKind::kPrivate);
  EXPECT_EQ(KindOf(Parsed(), 0x4000, 0x6000), MappingKind::kPrivate);
}

TEST(MappingsTest, MemfdAndTmpfsAreShared) {
  EXPECT_EQ(KindOf(Parsed(), 0x8000, 0xb000), MappingKind::kShared);
}

TEST(MappingsTest, EverythingElseIsOther) {
  const auto parsed = Parsed();
  for (const std::uintptr_t at : {0x1000, 0x2000, 0x7000, 0xb000, 0xc000, 0xd000, 0xe000}) {
    EXPECT_EQ(KindOf(parsed, at, at + 0x1000), MappingKind::kOther) << at;
  }
  EXPECT_EQ(KindOf(parsed, 0x7ffd3000, 0x7ffd4000), MappingKind::kOther);
}

TEST(MappingsTest, MixedUnmappedAndEmptyRangesAreOther) {
  const auto parsed = Parsed();
  EXPECT_EQ(KindOf(parsed, 0x6000, 0x9000), MappingKind::kOther);
  EXPECT_EQ(KindOf(parsed, 0x0, 0x1000), MappingKind::kOther);
  EXPECT_EQ(KindOf(parsed, 0xf000, 0x10000), MappingKind::kOther);
  EXPECT_EQ(KindOf(parsed, 0x3000, 0x3000), MappingKind::kOther);
  EXPECT_EQ(KindOf({}, 0x3000, 0x4000), MappingKind::kOther);
}

TEST(MappingsTest, TmpfsMountsAreFoundByTheirType) {
  const auto numbers = TmpfsNumbers(
      "22 1 0:20 / /sys rw - sysfs sysfs rw\n"
      "25 1 0:28 / /dev/shm rw,nosuid shared:3 - tmpfs tmpfs rw\n"
      "26 1 254:1 / /tmpfs rw - ext4 /dev/tmpfs rw\n"
      "27 1 0:40 / /a rw - tmpfs none rw,size=1k\n");
  EXPECT_EQ(numbers, (std::vector{NumberOf(0, 28), NumberOf(0, 40)}));
}

}  // namespace
}  // namespace kvpool::mem
