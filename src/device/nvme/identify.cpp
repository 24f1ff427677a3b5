#include "device/nvme/identify.h"

#include <bit>
#include <cstring>

namespace kvpool::device {
namespace {

static_assert(std::endian::native == std::endian::little, "NVMe is little-endian");

constexpr std::uint64_t kPageBytes = 4096;  // the smallest memory page, in which MDTS counts
constexpr unsigned kMaxTransferShift = 20;  // more is as good as no limit

template <class Number>
Number At(IdentifyPage page, std::size_t offset) {
  Number number;
  std::memcpy(&number, page.data() + offset, sizeof number);
  return number;
}

// Fixed-width text, padded with blanks; what is not printable becomes a dot.
std::string Text(IdentifyPage page, std::size_t offset, std::size_t bytes) {
  std::string text;
  for (const std::byte byte : page.subspan(offset, bytes)) {
    const auto c = static_cast<char>(byte);
    if (c == '\0') break;
    text += c >= ' ' && c <= '~' ? c : '.';
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

}  // namespace

NvmeController DecodeController(IdentifyPage page) {
  NvmeController controller;
  controller.serial = Text(page, 4, 20);
  controller.model = Text(page, 24, 40);
  const auto shift = At<std::uint8_t>(page, 77);
  if (shift > 0 && shift <= kMaxTransferShift) controller.max_transfer_bytes = kPageBytes << shift;
  controller.deallocates = (At<std::uint16_t>(page, 520) & 1u << 2) != 0;
  controller.volatile_cache = (At<std::uint8_t>(page, 525) & 1u) != 0;
  return controller;
}

NvmeNamespace DecodeNamespace(IdentifyPage page) {
  constexpr unsigned kFormats = 64;
  NvmeNamespace space;
  space.blocks = At<std::uint64_t>(page, 0);
  const unsigned formats = At<std::uint8_t>(page, 25) + 1u;
  const unsigned in_use = At<std::uint8_t>(page, 26);
  // Bits 5 and 6 count only where there are more formats than four bits name.
  const unsigned format = (in_use & 0xf) | (formats > 16 ? (in_use >> 5 & 3) << 4 : 0);
  if (format >= kFormats) return space;
  const auto entry = At<std::uint32_t>(page, 128 + 4 * format);
  space.metadata_bytes = entry & 0xffff;
  const unsigned shift = entry >> 16 & 0xff;
  if (shift >= 9 && shift <= 16) space.block_bytes = std::uint64_t{1} << shift;
  return space;
}

}  // namespace kvpool::device
