#include "device/label.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <cstring>

namespace kvpool::device {
namespace {

using Page = std::array<std::byte, kLabelBytes>;

const Label kLabel{.pool_id = 0x1122334455667788,
                   .device_id = 0x99aabbccddeeff00,
                   .index = 3,
                   .count = 5,
                   .capacity_bytes = 10 * kSlabBytes,
                   .created_unix_s = 1'700'000'000,
                   .name = "ssd0"};

Page Encoded(const Label& label) {
  Page page;
  page.fill(std::byte{0xcd});
  EncodeLabel(label, page);
  return page;
}

TEST(Label, IsReadBackAsWritten) {
  const auto label = DecodeLabel(Encoded(kLabel), "x");
  ASSERT_TRUE(label) << label.error().message;
  EXPECT_EQ(*label, kLabel);
}

// The bytes on media, so that a change of the format does not go unnoticed.
TEST(Label, LiesWhereThePageOfTheFormatSays) {
  const Page page = Encoded(kLabel);
  EXPECT_EQ(std::memcmp(page.data(), "KVPOOLDV\x01\0\0\0\x03\0\0\0\x05\0\0\0\0\0\0\0", 24), 0);
  EXPECT_EQ(std::memcmp(page.data() + 24, "\x88\x77\x66\x55\x44\x33\x22\x11", 8), 0);
  EXPECT_EQ(std::memcmp(page.data() + 32, "\x00\xff\xee\xdd\xcc\xbb\xaa\x99", 8), 0);
  EXPECT_EQ(std::memcmp(page.data() + 40, "\x00\x00\x20\0\0\0\0\0", 8), 0);
  EXPECT_EQ(std::memcmp(page.data() + 48, "\x00\x00\x40\x01\0\0\0\0", 8), 0);
  EXPECT_EQ(std::memcmp(page.data() + 64, "ssd0\0", 5), 0);
  EXPECT_EQ(page[128], std::byte{0});
  EXPECT_EQ(page[4087], std::byte{0});
}

TEST(Label, EveryChangedByteIsNoticed) {
  const Page good = Encoded(kLabel);
  for (std::size_t i = 0; i < good.size(); ++i) {
    Page bad = good;
    bad[i] ^= std::byte{0x10};
    const auto label = DecodeLabel(bad, "x");
    ASSERT_FALSE(label) << i;
    const Status expected = i < 8    ? Status::kNotFound
                            : i < 12 ? Status::kUnsupported
                                     : Status::kCorrupt;
    EXPECT_EQ(label.error().status, expected) << i;
  }
}

TEST(Label, FieldsOutOfBoundsAreDamageEvenWithAGoodChecksum) {
  for (const auto change : std::initializer_list<void (*)(Label&)>{
           [](Label& l) { l.pool_id = 0; }, [](Label& l) { l.device_id = 0; },
           [](Label& l) { l.index = 5; }, [](Label& l) { l.count = 65; },
           [](Label& l) { l.count = 0; }, [](Label& l) { l.capacity_bytes = 0; },
           [](Label& l) { l.capacity_bytes += 4096; }, [](Label& l) { l.name = "a/b"; },
           [](Label& l) { l.capacity_bytes = std::uint64_t{1} << 63; }}) {
    Label label = kLabel;
    change(label);
    const auto decoded = DecodeLabel(Encoded(label), "x");
    ASSERT_FALSE(decoded);
    EXPECT_EQ(decoded.error().status, Status::kCorrupt);
  }
}

TEST(Label, ANameMayFillItsRoomOrBeMissing) {
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, kMaxNameBytes}) {
    Label label = kLabel;
    label.name.assign(length, 'x');
    const auto decoded = DecodeLabel(Encoded(label), "x");
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(*decoded, label);
  }
}

RC_GTEST_PROP(Label, AnyPageIsReadOrRefused, (const std::vector<std::uint8_t>& bytes, bool magic)) {
  Page page{};
  for (std::size_t i = 0; i < bytes.size() && i < page.size(); ++i) page[i] = std::byte{bytes[i]};
  if (magic) std::memcpy(page.data(), "KVPOOLDV\x01\0\0\0", 12);
  RC_ASSERT(!DecodeLabel(page, "x"));
}

TEST(CheckLabel, EachMismatchHasItsOwnSentence) {
  const LabelExpectation good{.pool_id = kLabel.pool_id,
                              .device_id = kLabel.device_id,
                              .capacity_bytes = kLabel.capacity_bytes,
                              .drive_bytes = kLabelAreaBytes + kLabel.capacity_bytes};
  EXPECT_TRUE(CheckLabel(kLabel, good, "x"));
  EXPECT_TRUE(CheckLabel(kLabel, {.drive_bytes = good.drive_bytes}, "x"));
  const auto refused = [&](auto change, const char* word) {
    LabelExpectation expected = good;
    change(expected);
    const auto checked = CheckLabel(kLabel, expected, "/the/path");
    ASSERT_FALSE(checked) << word;
    EXPECT_EQ(checked.error().status, Status::kInvalid);
    EXPECT_NE(checked.error().message.find(word), std::string::npos) << checked.error().message;
    EXPECT_NE(checked.error().message.find("/the/path"), std::string::npos);
  };
  refused([](auto& e) { e.pool_id = 1; }, "belongs to pool");
  refused([](auto& e) { e.device_id = 1; }, "swapped");
  refused([](auto& e) { e.capacity_bytes = kSlabBytes; }, "was created with");
  refused([](auto& e) { e.drive_bytes -= 1; }, "shrunk");
}

}  // namespace
}  // namespace kvpool::device
