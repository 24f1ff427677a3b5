#include "device/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/units.h"

namespace kvpool::device {
namespace {

constexpr std::uint64_t kWipedBytes = kLabelAreaBytes;  // at either end

bool IsZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// What is there, also where nobody's signature is known.
std::string ContentOf(RawDrive& drive) {
  std::string content = SignaturesOn(drive);
  if (!content.empty()) return content;
  std::vector<std::byte> head(RawDrive::kMaxBytes);
  const bool zero = drive.Read(0, head) && IsZero(head);
  return zero ? "" : "something that kvpool does not know";
}

// As it is where it names no file, such as an address.
std::string NodeOf(const std::string& where) {
  std::error_code error;
  const std::filesystem::path node = std::filesystem::canonical(where, error);
  return error ? where : node.string();
}

Result<void> AskTwice(const FormatReport& report, const FormatOptions& options) {
  const RawDriveFacts& facts = report.facts;
  const std::string& content = report.carried;
  const std::string& name = facts.serial.empty() ? report.node : facts.serial;
  const bool confirmed = options.confirm == name;
  if (!options.confirm.empty() && !confirmed) {
    return Fail(Status::kInvalid,
                fmt::format("{} is the drive {} and not {}: look again which one you mean",
                            facts.where, name, options.confirm));
  }
  if (content.empty() || (options.force && confirmed)) return {};
  return Fail(
      Status::kExists,
      fmt::format("{} ({}{}{}) carries {}, which would be lost: choose another drive, or add "
                  "--force --confirm {}",
                  facts.where, report.node == facts.where ? "" : report.node + ", ",
                  FormatBytes(facts.bytes), facts.serial.empty() ? "" : ", serial " + facts.serial,
                  content, name));
}

Result<void> Zero(RawDrive& drive, std::uint64_t begin, std::uint64_t end) {
  const std::vector<std::byte> zeros(RawDrive::kMaxBytes);
  while (begin < end) {
    const std::uint64_t bytes = std::min<std::uint64_t>(zeros.size(), end - begin);
    if (auto written = drive.Write(begin, std::span(zeros).first(bytes)); !written) return written;
    begin += bytes;
  }
  return {};
}

// Where signatures lie: both ends.
Result<void> Wipe(RawDrive& drive) {
  const std::uint64_t end = drive.facts().bytes;
  if (auto wiped = Zero(drive, 0, std::min(kWipedBytes, end)); !wiped) return wiped;
  const std::uint64_t tail =
      end > kWipedBytes ? (end - kWipedBytes) / kIoAlignment * kIoAlignment : 0;
  return Zero(drive, std::max(tail, std::min(kWipedBytes, end)), end);
}

}  // namespace

Result<FormatReport> FormatDrive(RawDrive& drive, const FormatOptions& options) {
  FormatReport report{.facts = drive.facts(), .node = NodeOf(drive.facts().where)};
  if (UsableBytes(report.facts) == 0) {
    return Fail(Status::kNoSpace,
                fmt::format("{} has {} and a pool needs at least {}: choose a larger drive",
                            report.facts.where, FormatBytes(report.facts.bytes),
                            FormatBytes(kLabelAreaBytes + kSlabBytes)));
  }
  report.carried = ContentOf(drive);
  if (auto told = AskTwice(report, options); !told) {
    return tl::unexpected(told.error());
  }
  if (auto wiped = Wipe(drive); !wiped) return tl::unexpected(wiped.error());
  // Only advice to the drive: one that fails at it is as good as before.
  report.discarded = drive.Discard().value_or(false);
  drive.ForgetPartitions();
  if (const std::string left = SignaturesOn(drive); !left.empty()) {
    return Fail(Status::kIoError,
                fmt::format("{} still carries {} after it was wiped: it does not keep what is "
                            "written; choose another drive",
                            report.facts.where, left));
  }
  return report;
}

}  // namespace kvpool::device
