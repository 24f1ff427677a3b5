#include "device/block/signatures.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "base/limits.h"

namespace kvpool::device {
namespace {

class Disk {
 public:
  explicit Disk(std::uint64_t bytes) : bytes_(bytes) {}
  void Put(std::uint64_t offset, std::string_view magic) {
    std::memcpy(bytes_.data() + offset, magic.data(), magic.size());
  }
  std::string Signatures() const {
    return FindSignatures(bytes_.size(), [&](std::uint64_t offset, std::span<std::byte> into) {
      EXPECT_EQ(offset % 4096, 0u);
      if (offset + into.size() > bytes_.size()) return false;
      std::memcpy(into.data(), bytes_.data() + offset, into.size());
      return true;
    });
  }

 private:
  std::vector<std::byte> bytes_;
};

TEST(FindSignatures, AnEmptyDiskHasNone) {
  EXPECT_EQ(Disk(4 * kMiB).Signatures(), "");
  EXPECT_EQ(Disk(4096).Signatures(), "");
  EXPECT_EQ(Disk(4 * kMiB + 512).Signatures(), "");
}

TEST(FindSignatures, KnowsTheCommonOnes) {
  using namespace std::string_view_literals;
  const struct {
    std::uint64_t offset;
    std::string_view magic;
    const char* word;
  } cases[] = {{1024 + 56, "\x53\xef"sv, "ext"},
               {0, "XFSB"sv, "xfs"},
               {65536 + 64, "_BHRfS_M"sv, "btrfs"},
               {512, "EFI PART"sv, "GPT"},
               {4096, "EFI PART"sv, "GPT"},
               {510, "\x55\xaa"sv, "MBR"},
               {512 + 24, "LVM2 001"sv, "LVM"},
               {0, "LUKS\xba\xbe\x00\x02"sv, "LUKS"},
               {4086, "SWAPSPACE2"sv, "swap"},
               {4096, "\xfc\x4e\x2b\xa9"sv, "md array"},
               {150 * 1024, "\x0c\xb1\xba\0\0\0\0\0"sv, "ZFS"},
               {0, "KVPOOLDV"sv, "kvpool label"},
               {4 * kMiB - 512, "EFI PART"sv, "GPT"},
               {4 * kMiB - 8192, "\xfc\x4e\x2b\xa9"sv, "md array"},
               {4 * kMiB - 65536, "\xfc\x4e\x2b\xa9"sv, "md array"}};
  for (const auto& [offset, magic, word] : cases) {
    Disk disk(4 * kMiB);
    disk.Put(offset, magic);
    EXPECT_NE(disk.Signatures().find(word), std::string::npos) << word << " at " << offset;
  }
}

TEST(FindSignatures, NamesSeveralEachOnce) {
  Disk disk(4 * kMiB);
  disk.Put(510, "\x55\xaa");
  disk.Put(512, "EFI PART");
  disk.Put(4 * kMiB - 512, "EFI PART");
  EXPECT_EQ(disk.Signatures(), "a GPT partition table and an MBR partition table or a boot sector");
}

TEST(FindSignatures, WhatCannotBeReadIsNotEmpty) {
  EXPECT_EQ(FindSignatures(4 * kMiB, [](auto, auto) { return false; }), "unreadable sectors");
}

}  // namespace
}  // namespace kvpool::device
