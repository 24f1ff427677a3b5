// What drives say of themselves: the pages of NVMe's identify command, and what lies on a drive.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/check.h"
#include "device/block/signatures.h"
#include "device/nvme/identify.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::array<std::byte, kvpool::device::kIdentifyBytes> page{};
  if (size != 0) std::memcpy(page.data(), data, std::min(size, page.size()));
  const auto controller = kvpool::device::DecodeController(page);
  KVPOOL_CHECK(controller.serial.size() <= 20 && controller.model.size() <= 40);
  const auto space = kvpool::device::DecodeNamespace(page);
  KVPOOL_CHECK(space.block_bytes == 0 || (space.block_bytes & (space.block_bytes - 1)) == 0);
  // The same page at every place that is looked at, of a drive of a size that it names.
  std::uint64_t bytes = 0;
  std::memcpy(&bytes, page.data() + page.size() - sizeof bytes, sizeof bytes);
  bytes %= std::uint64_t{1} << 50;
  kvpool::device::FindSignatures(bytes, [&](std::uint64_t offset, std::span<std::byte> into) {
    KVPOOL_CHECK(offset % 4096 == 0);
    if (offset + into.size() > bytes) return false;
    for (std::size_t at = 0; at < into.size(); at += page.size()) {
      std::memcpy(into.data() + at, page.data(), std::min(page.size(), into.size() - at));
    }
    return true;
  });
  return 0;
}
