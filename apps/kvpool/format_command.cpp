#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>

#include "apps/kvpool/options.h"
#include "base/units.h"
#include "device/format.h"

namespace kvpool::cli {
namespace {

constexpr const char* kExamples =
    R"(  kvpool format /dev/nvme0n1
      Wipes a drive that carries nothing known, or says what it carries and its serial number.
  kvpool format /dev/nvme0n1 --force --confirm S3ESNX0K123456
      Wipes whatever is on the drive with that serial number. What is mounted is never wiped.
  kvpool format "trtype:PCIe traddr:0000:00:04.0 ns:1"
      The same by SPDK, for a drive that the kernel does not have.)";

struct FormatCommand {
  std::string drive;
  device::FormatOptions how;
};

Result<void> RunFormat(const FormatCommand& command) {
  DeviceConfig config;
  config.name = "drive";
  if (command.drive.find("trtype:") != std::string::npos) {
    config.kind = DeviceKind::kSpdk;
    config.address = command.drive;
  } else {
    config.kind = DeviceKind::kDrive;
    config.path = command.drive;
    std::error_code error;
    if (std::filesystem::status(config.path, error).type() ==
        std::filesystem::file_type::not_found) {
      return Fail(Status::kNotFound,
                  fmt::format("{}: no such drive: `kvpool probe` lists them", command.drive));
    }
  }
  auto drive = device::OpenRawDrive(config, device::RawAccess::kHold);
  if (!drive) return tl::unexpected(drive.error());
  const auto report = device::FormatDrive(**drive, command.how);
  if (!report) return tl::unexpected(report.error());
  const bool link = report->node != report->facts.where;
  fmt::print("{}{}: {}{}, {}: wiped{}; `kvpool create` takes it now\n", command.drive,
             link ? " (" + report->node + ")" : "", FormatBytes(report->facts.bytes),
             report->facts.serial.empty() ? "" : ", serial " + report->facts.serial,
             report->carried.empty() ? "carried nothing known" : "carried " + report->carried,
             report->discarded ? ", and told that none of its content is needed" : "");
  return {};
}

}  // namespace

void AddFormat(CLI::App& app, Action& action) {
  auto options = std::make_shared<FormatCommand>();
  CLI::App& command = AddCommand(app, "format", "Make a raw drive empty, so that create takes it",
                                 kExamples, action, [options] { return RunFormat(*options); });
  command.add_option("drive", options->drive, "The drive, or its address for SPDK")
      ->type_name("DEVICE")
      ->required();
  command.add_flag("--force", options->how.force, "Wipe what it carries");
  command
      .add_option(
          "--confirm", options->how.confirm,
          "Its serial number (its device node where it has none), so that it is the right one")
      ->type_name("SERIAL");
}

}  // namespace kvpool::cli
