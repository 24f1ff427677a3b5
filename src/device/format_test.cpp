#include "device/format.h"

#include <gmock/gmock.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "device/test_support.h"

namespace kvpool::device {
namespace {

using ::testing::HasSubstr;

// A drive in memory.
class FakeDrive final : public RawDrive {
 public:
  explicit FakeDrive(std::uint64_t bytes = 8 * kMiB, std::string serial = "S123") : bytes_(bytes) {
    facts_ = {.where = "/dev/it", .serial = std::move(serial), .bytes = bytes};
  }
  Result<void> Read(std::uint64_t offset, std::span<std::byte> into) override {
    if (offset + into.size() > bytes_.size()) return Fail(Status::kIoError, "beyond the end");
    std::memcpy(into.data(), bytes_.data() + offset, into.size());
    return {};
  }
  Result<void> Write(std::uint64_t offset, std::span<const std::byte> from) override {
    EXPECT_EQ(offset % kIoAlignment, 0u);
    if (!deaf) std::memcpy(bytes_.data() + offset, from.data(), from.size());
    ++writes;
    return {};
  }
  Result<bool> Discard() override {
    ++discards;
    if (!discard_works) return Fail(Status::kIoError, "not today");
    return true;
  }
  void Put(std::uint64_t offset, std::string_view text) {
    std::memcpy(bytes_.data() + offset, text.data(), text.size());
  }
  bool IsZero(std::uint64_t offset, std::uint64_t bytes) const {
    return std::all_of(bytes_.begin() + offset, bytes_.begin() + offset + bytes,
                       [](std::byte b) { return b == std::byte{0}; });
  }

  void LieAt(const std::string& where) { facts_.where = where; }

  int writes = 0;
  int discards = 0;
  bool deaf = false;
  bool discard_works = true;

 private:
  std::vector<std::byte> bytes_;
};

TEST(FormatDrive, AnEmptyDriveNeedsNoSecondWord) {
  FakeDrive drive;
  const auto report = FormatDrive(drive, {});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->carried, "");
  EXPECT_TRUE(report->discarded);
  EXPECT_EQ(report->facts.serial, "S123");
}

TEST(FormatDrive, WhatCarriesSomethingIsWipedOnlyWhenToldTwice) {
  for (const auto& [offset, magic, words] :
       {std::tuple{std::uint64_t{1080}, std::string_view("\x53\xef"), "an ext filesystem"},
        std::tuple{std::uint64_t{510}, std::string_view("\x55\xaa"), "partition table"},
        std::tuple{std::uint64_t{0}, std::string_view("KVPOOLDV"), "a kvpool label"},
        std::tuple{8 * kMiB - 512, std::string_view("EFI PART"), "a GPT partition table"},
        std::tuple{std::uint64_t{200'000}, std::string_view("x"), "does not know"}}) {
    FakeDrive drive;
    drive.Put(offset, magic);
    for (const FormatOptions& once :
         {FormatOptions{}, FormatOptions{.force = true}, FormatOptions{.confirm = "S123"}}) {
      const auto refused = FormatDrive(drive, once);
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().status, Status::kExists);
      EXPECT_THAT(refused.error().message, HasSubstr(words));
      EXPECT_THAT(refused.error().message, HasSubstr("--force --confirm S123"));
    }
    EXPECT_EQ(drive.writes + drive.discards, 0);
    const auto report = FormatDrive(drive, {.force = true, .confirm = "S123"});
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_THAT(report->carried, HasSubstr(words));
    EXPECT_TRUE(drive.IsZero(0, 2 * kMiB));
    EXPECT_TRUE(drive.IsZero(6 * kMiB, 2 * kMiB));
    EXPECT_EQ(drive.discards, 1);
  }
}

TEST(FormatDrive, ADriveWithoutASerialIsConfirmedByWhatALinkLeadsTo) {
  const std::filesystem::path folder =
      std::filesystem::canonical(testing::TempDir()) / "format_link";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const std::string node = folder / "node";
  const std::string link = folder / "link";
  std::ofstream(node) << "x";
  std::filesystem::create_symlink(node, link);
  FakeDrive drive(8 * kMiB, "");
  drive.LieAt(link);
  drive.Put(1080, "\x53\xef");
  const auto refused = FormatDrive(drive, {.force = true, .confirm = link});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("is the drive " + node + " and not " + link));
  EXPECT_THAT(FormatDrive(drive, {}).error().message, HasSubstr("--force --confirm " + node));
  const auto report = FormatDrive(drive, {.force = true, .confirm = node});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->node, node);
}

TEST(FormatDrive, AnotherSerialIsAMistakeEvenWhereNothingIsLost) {
  FakeDrive drive;
  const auto refused = FormatDrive(drive, {.force = true, .confirm = "S124"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, Status::kInvalid);
  EXPECT_THAT(refused.error().message, HasSubstr("is the drive S123 and not S124"));
  EXPECT_EQ(drive.writes, 0);
}

TEST(FormatDrive, WithoutASerialThePathConfirms) {
  FakeDrive drive(8 * kMiB, "");
  drive.Put(510, "\x55\xaa");
  EXPECT_FALSE(FormatDrive(drive, {.force = true}));
  EXPECT_TRUE(FormatDrive(drive, {.force = true, .confirm = "/dev/it"}));
}

TEST(FormatDrive, ADriveThatCannotDiscardIsStillWiped) {
  FakeDrive drive;
  drive.discard_works = false;
  const auto report = FormatDrive(drive, {});
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->discarded);
}

TEST(FormatDrive, ADriveThatForgetsIsFound) {
  FakeDrive drive;
  drive.Put(510, "\x55\xaa");
  drive.deaf = true;
  const auto report = FormatDrive(drive, {.force = true, .confirm = "S123"});
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().message, HasSubstr("still carries"));
}

TEST(FormatDrive, SmallAndOddSizes) {
  FakeDrive small(3 * kMiB);
  EXPECT_EQ(FormatDrive(small, {}).error().status, Status::kNoSpace);
  EXPECT_EQ(small.writes, 0);
  for (const std::uint64_t bytes : {4 * kMiB, 4 * kMiB + 512, 5 * kMiB - 512}) {
    FakeDrive odd(bytes);
    odd.Put(bytes - 512, "EFI PART");
    ASSERT_TRUE(FormatDrive(odd, {.force = true, .confirm = "S123"})) << bytes;
    EXPECT_TRUE(odd.IsZero(0, bytes)) << bytes;
  }
}

}  // namespace
}  // namespace kvpool::device
