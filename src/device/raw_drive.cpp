#include "device/raw_drive.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/units.h"
#include "device/block/signatures.h"

namespace kvpool::device {
namespace {

using LabelPage = std::array<std::byte, kLabelBytes>;

// What is there already is only taken when told twice.
Result<void> AskTwice(RawDrive& drive, const CreateOptions& options) {
  const std::string found = SignaturesOn(drive);
  if (found.empty()) return {};
  const RawDriveFacts& facts = drive.facts();
  const bool named =
      options.confirm == facts.where || (!facts.serial.empty() && options.confirm == facts.serial);
  if (options.force && named) return {};
  const std::string serial =
      facts.serial.empty() ? "" : fmt::format(" or its serial {}", facts.serial);
  return Fail(
      Status::kExists,
      fmt::format("{0} carries {1}, which would be lost: choose another drive, or make it empty "
                  "with `kvpool format {0}` (from code: force it and confirm its path{2})",
                  facts.where, found, serial));
}

}  // namespace

std::uint64_t UsableBytes(const RawDriveFacts& facts) {
  const std::uint64_t whole = facts.bytes / kSlabBytes * kSlabBytes;
  return whole > kLabelAreaBytes ? whole - kLabelAreaBytes : 0;
}

std::string SignaturesOn(RawDrive& drive) {
  return FindSignatures(drive.facts().bytes, [&](std::uint64_t offset, std::span<std::byte> into) {
    return drive.Read(offset, into).has_value();
  });
}

Result<void> LabelDrive(RawDrive& drive, const DeviceConfig& config, const CreateOptions& options) {
  const std::uint64_t usable = UsableBytes(drive.facts());
  if (usable == 0 || config.capacity_bytes > usable) {
    return Fail(
        Status::kNoSpace,
        fmt::format("{} has {} for a pool and {} are asked for: ask for no more, or for 0, "
                    "which means all of it",
                    drive.facts().where, FormatBytes(usable), FormatBytes(config.capacity_bytes)));
  }
  if (auto told = AskTwice(drive, options); !told) return told;
  Label label = options.label;
  label.capacity_bytes = config.capacity_bytes > 0 ? config.capacity_bytes : usable;
  LabelPage page;
  EncodeLabel(label, page);
  return drive.Write(0, page);
}

Result<Label> LabelOf(RawDrive& drive) {
  LabelPage page{};
  if (drive.facts().bytes >= page.size()) {
    if (auto read = drive.Read(0, page); !read) return tl::unexpected(read.error());
  }
  return DecodeLabel(page, drive.facts().where);
}

Result<void> UnlabelDrive(RawDrive& drive, std::uint64_t pool_id) {
  const auto label = LabelOf(drive);
  if (!label && label.error().status != Status::kCorrupt &&
      label.error().status != Status::kUnsupported) {
    return tl::unexpected(label.error());
  }
  if (label) {
    const LabelExpectation expected{.pool_id = pool_id, .drive_bytes = ~std::uint64_t{0}};
    if (auto same = CheckLabel(*label, expected, drive.facts().where); !same) return same;
  }
  return drive.Write(0, LabelPage{});
}

RawAccess AccessFor(RawUse use) {
  return use == RawUse::kMeasureReads ? RawAccess::kLook : RawAccess::kHold;
}

Result<std::uint64_t> CapacityOf(RawDrive& drive, const DeviceConfig& config,
                                 const OpenOptions& options) {
  if (options.raw_use != RawUse::kPool) {
    if (const std::uint64_t usable = UsableBytes(drive.facts()); usable > 0) return usable;
    return Fail(Status::kInvalid,
                fmt::format("{} has {} and is too small to measure: name a drive",
                            drive.facts().where, FormatBytes(drive.facts().bytes)));
  }
  const auto label = LabelOf(drive);
  if (!label) return tl::unexpected(label.error());
  const LabelExpectation expected{options.pool_id, options.device_id, config.capacity_bytes,
                                  drive.facts().bytes};
  if (auto same = CheckLabel(*label, expected, drive.facts().where); !same) {
    return tl::unexpected(same.error());
  }
  return label->capacity_bytes;
}

}  // namespace kvpool::device
