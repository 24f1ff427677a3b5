// The first page of a drive, as it is and with its checksum put right: a label that encodes to
// itself and can be held against what is expected, or a refusal with words.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/check.h"
#include "base/checksum.h"
#include "device/label.h"

namespace {

using Page = std::array<std::byte, kvpool::device::kLabelBytes>;

void Decode(const Page& page) {
  const auto label = kvpool::device::DecodeLabel(page, "drive");
  if (!label) {
    KVPOOL_CHECK(label.error().status != kvpool::Status::kOk);
    KVPOOL_CHECK(!label.error().message.empty());
    return;
  }
  Page again{};
  kvpool::device::EncodeLabel(*label, again);
  const auto same = kvpool::device::DecodeLabel(again, "drive");
  KVPOOL_CHECK(same.has_value() && *same == *label);
  const auto good = kvpool::device::CheckLabel(
      *label,
      {.pool_id = label->pool_id,
       .device_id = label->device_id,
       .capacity_bytes = label->capacity_bytes,
       .drive_bytes = label->capacity_bytes + kvpool::device::kLabelAreaBytes},
      "drive");
  KVPOOL_CHECK(good.has_value());
  const auto small = kvpool::device::CheckLabel(*label, {.drive_bytes = 1}, "drive");
  KVPOOL_CHECK(!small.has_value() && !small.error().message.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Page page{};
  if (size != 0) std::memcpy(page.data(), data, std::min(size, page.size()));
  Decode(page);
  constexpr std::size_t kCovered = kvpool::device::kLabelBytes - 8;
  const std::uint64_t checksum =
      kvpool::Digest({reinterpret_cast<const char*>(page.data()), kCovered});
  std::memcpy(page.data() + kCovered, &checksum, sizeof checksum);
  Decode(page);
  return 0;
}
