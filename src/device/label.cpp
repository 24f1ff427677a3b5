#include "device/label.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "base/checksum.h"
#include "base/units.h"

namespace kvpool::device {
namespace {

static_assert(std::endian::native == std::endian::little, "the label is little-endian");

constexpr char kMagic[8] = {'K', 'V', 'P', 'O', 'O', 'L', 'D', 'V'};
constexpr std::uint32_t kVersion = 1;
constexpr std::string_view kMakePoolAnew =
    "remove the pool's files and its catalog and create it anew, and what was stored goes with "
    "them";

struct Page {
  char magic[8];
  std::uint32_t version;
  std::uint32_t index;
  std::uint32_t count;
  std::uint32_t reserved0;
  std::uint64_t pool_id;
  std::uint64_t device_id;
  std::uint64_t first_byte;
  std::uint64_t capacity_bytes;
  std::int64_t created_unix_s;
  std::byte reserved[4024];
  std::uint64_t checksum;  // XXH3-64 of everything before it
};
static_assert(sizeof(Page) == kLabelBytes);
static_assert(offsetof(Page, pool_id) == 24);
static_assert(offsetof(Page, checksum) == 4088);

std::uint64_t ChecksumOf(std::span<const std::byte, kLabelBytes> page) {
  return Digest({reinterpret_cast<const char*>(page.data()), offsetof(Page, checksum)});
}

bool Sane(const Page& page) {
  return page.pool_id > 0 && page.device_id > 0 && page.count >= 1 && page.count <= kMaxDevices &&
         page.index < page.count && page.first_byte == kLabelAreaBytes && page.capacity_bytes > 0 &&
         page.capacity_bytes % kSlabBytes == 0 && page.capacity_bytes < std::uint64_t{1} << 62;
}

}  // namespace

void EncodeLabel(const Label& label, std::span<std::byte, kLabelBytes> bytes) {
  Page page{};
  std::memcpy(page.magic, kMagic, sizeof kMagic);
  page.version = kVersion;
  page.index = label.index;
  page.count = label.count;
  page.pool_id = label.pool_id;
  page.device_id = label.device_id;
  page.first_byte = kLabelAreaBytes;
  page.capacity_bytes = label.capacity_bytes;
  page.created_unix_s = label.created_unix_s;
  std::memcpy(bytes.data(), &page, sizeof page);
  page.checksum = ChecksumOf(bytes);
  std::memcpy(bytes.data(), &page, sizeof page);
}

Result<Label> DecodeLabel(std::span<const std::byte, kLabelBytes> bytes, std::string_view path) {
  Page page;
  std::memcpy(&page, bytes.data(), sizeof page);
  if (std::memcmp(page.magic, kMagic, sizeof kMagic) != 0) {
    return Fail(
        Status::kNotFound,
        fmt::format("{} carries no kvpool label: correct its path, or {}", path, kMakePoolAnew));
  }
  if (page.version != kVersion) {
    return Fail(
        Status::kUnsupported,
        fmt::format("{} has a label of version {} and this kvpool reads version {}: use the "
                    "kvpool that made it, or {}",
                    path, page.version, kVersion, kMakePoolAnew));
  }
  if (page.checksum != ChecksumOf(bytes) || !Sane(page)) {
    return Fail(Status::kCorrupt,
                fmt::format("the label of {} is damaged: {}", path, kMakePoolAnew));
  }
  return Label{page.pool_id, page.device_id,      page.index,
               page.count,   page.capacity_bytes, page.created_unix_s};
}

Result<void> CheckLabel(const Label& label, const LabelExpectation& expected,
                        std::string_view path) {
  if (expected.pool_id != 0 && label.pool_id != expected.pool_id) {
    return Fail(
        Status::kInvalid,
        fmt::format("{} belongs to pool {:016x} and not to pool {:016x}: correct its path in "
                    "the pool file, or {}",
                    path, label.pool_id, expected.pool_id, kMakePoolAnew));
  }
  if (expected.device_id != 0 && label.device_id != expected.device_id) {
    return Fail(
        Status::kInvalid,
        fmt::format("{} is device {:016x} of its pool and not {:016x}: correct the paths in "
                    "the pool file, two of them are swapped",
                    path, label.device_id, expected.device_id));
  }
  if (expected.capacity_bytes != 0 && label.capacity_bytes != expected.capacity_bytes) {
    return Fail(
        Status::kInvalid,
        fmt::format("{} was created with a capacity of {} and the pool file says {}: set the "
                    "former, or {}",
                    path, FormatBytes(label.capacity_bytes), FormatBytes(expected.capacity_bytes),
                    kMakePoolAnew));
  }
  if (expected.drive_bytes < kLabelAreaBytes + label.capacity_bytes) {
    return Fail(Status::kInvalid,
                fmt::format("{} has shrunk to {}, less than the {} that were created: restore its "
                            "size, or {}",
                            path, FormatBytes(expected.drive_bytes),
                            FormatBytes(kLabelAreaBytes + label.capacity_bytes), kMakePoolAnew));
  }
  return {};
}

}  // namespace kvpool::device
