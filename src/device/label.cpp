#include "device/label.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cstring>

#include "base/check.h"
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
  char name[kMaxNameBytes];
  std::byte reserved[3960];
  std::uint64_t checksum;  // XXH3-64 of everything before it
};
static_assert(sizeof(Page) == kLabelBytes);
static_assert(offsetof(Page, pool_id) == 24);
static_assert(offsetof(Page, name) == 64);
static_assert(offsetof(Page, checksum) == 4088);

std::uint64_t ChecksumOf(std::span<const std::byte, kLabelBytes> page) {
  return Digest({reinterpret_cast<const char*>(page.data()), offsetof(Page, checksum)});
}

// Letters, digits, dots, dashes and underscores, as in the pool file, and then zeros.
bool IsName(std::string_view field) {
  const std::size_t end = std::min(field.find('\0'), field.size());
  const bool letters = std::all_of(field.begin(), field.begin() + end, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '_';
  });
  return letters && field.find_first_not_of('\0', end) == field.npos;
}

bool Sane(const Page& page) {
  return IsName({page.name, sizeof page.name}) && page.pool_id > 0 && page.device_id > 0 &&
         page.count >= 1 && page.count <= kMaxDevices && page.index < page.count &&
         page.first_byte == kLabelAreaBytes && page.capacity_bytes > 0 &&
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
  KVPOOL_CHECK(label.name.size() <= sizeof page.name);
  std::memcpy(page.name, label.name.data(), label.name.size());
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
  return Label{.pool_id = page.pool_id,
               .device_id = page.device_id,
               .index = page.index,
               .count = page.count,
               .capacity_bytes = page.capacity_bytes,
               .created_unix_s = page.created_unix_s,
               .name = std::string(page.name, ::strnlen(page.name, sizeof page.name))};
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
