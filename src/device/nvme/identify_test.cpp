#include "device/nvme/identify.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string_view>

namespace kvpool::device {
namespace {

class Page {
 public:
  template <class Number>
  Page& Put(std::size_t offset, Number number) {
    std::memcpy(bytes_.data() + offset, &number, sizeof number);
    return *this;
  }
  Page& PutText(std::size_t offset, std::string_view text) {
    std::memcpy(bytes_.data() + offset, text.data(), text.size());
    return *this;
  }
  // A format of 2^shift bytes with metadata.
  Page& Format(unsigned index, unsigned shift, unsigned metadata = 0) {
    return Put(128 + 4 * index, std::uint32_t{shift << 16 | metadata});
  }
  operator IdentifyPage() const { return bytes_; }

 private:
  std::array<std::byte, kIdentifyBytes> bytes_{};
};

TEST(IdentifyController, ReadsWhatIsUsed) {
  Page page;
  page.PutText(4, "drive0              ").PutText(24, "QEMU NVMe Ctrl   ").Put(77, std::uint8_t{8});
  page.Put(520, std::uint16_t{0x4}).Put(525, std::uint8_t{0x7});
  const NvmeController controller = DecodeController(page);
  EXPECT_EQ(controller.serial, "drive0");
  EXPECT_EQ(controller.model, "QEMU NVMe Ctrl");
  EXPECT_EQ(controller.max_transfer_bytes, 1u << 20);
  EXPECT_TRUE(controller.volatile_cache);
  EXPECT_TRUE(controller.deallocates);
}

TEST(IdentifyController, NothingSaidMeansNoLimitAndNoCache) {
  const NvmeController controller = DecodeController(Page());
  EXPECT_EQ(controller.serial, "");
  EXPECT_EQ(controller.max_transfer_bytes, 0u);
  EXPECT_FALSE(controller.volatile_cache);
  EXPECT_FALSE(controller.deallocates);
  EXPECT_EQ(DecodeController(Page().Put(77, std::uint8_t{255})).max_transfer_bytes, 0u);
}

TEST(IdentifyController, ASerialIsOneLineOfText) {
  EXPECT_EQ(DecodeController(Page().PutText(4, "a\nb\x1b[31m ")).serial, "a.b.[31m");
  EXPECT_EQ(DecodeController(Page().PutText(4, std::string_view("ab\0cd", 5))).serial, "ab");
}

TEST(IdentifyNamespace, TakesTheFormatInUse) {
  Page page;
  page.Put(0, std::uint64_t{1} << 40).Put(25, std::uint8_t{2}).Put(26, std::uint8_t{1});
  page.Format(0, 9).Format(1, 12).Format(2, 9, 8);
  NvmeNamespace space = DecodeNamespace(page);
  EXPECT_EQ(space.blocks, std::uint64_t{1} << 40);
  EXPECT_EQ(space.block_bytes, 4096u);
  EXPECT_EQ(space.metadata_bytes, 0u);
  space = DecodeNamespace(page.Put(26, std::uint8_t{0x12}));  // bit 4: metadata behind each block
  EXPECT_EQ(space.block_bytes, 512u);
  EXPECT_EQ(space.metadata_bytes, 8u);
}

TEST(IdentifyNamespace, HighBitsOfTheFormatCountOnlyWithManyFormats) {
  Page page;
  page.Put(26, std::uint8_t{0x20}).Format(0, 9).Format(16, 12);
  EXPECT_EQ(DecodeNamespace(page.Put(25, std::uint8_t{3})).block_bytes, 512u);
  EXPECT_EQ(DecodeNamespace(page.Put(25, std::uint8_t{17})).block_bytes, 4096u);
}

TEST(IdentifyNamespace, ASizeThatMakesNoSenseIsNone) {
  EXPECT_EQ(DecodeNamespace(Page()).block_bytes, 0u);
  EXPECT_EQ(DecodeNamespace(Page().Format(0, 8)).block_bytes, 0u);
  EXPECT_EQ(DecodeNamespace(Page().Format(0, 200)).block_bytes, 0u);
}

}  // namespace
}  // namespace kvpool::device
