#include "apps/kvpool/drive_table.h"

#include <fmt/format.h>

#include "apps/kvpool/table.h"
#include "base/units.h"
#include "device/raw_drive.h"

namespace kvpool::cli {
namespace {

std::string ContentOf(const device::MachineDrive& drive) {
  DeviceConfig config;
  config.kind = DeviceKind::kBlock;
  config.path = drive.block;
  if (drive.block.empty()) return "";
  auto raw = device::OpenRawDrive(config, device::RawAccess::kLook);
  return raw ? device::SignaturesOn(**raw) : "";
}

std::string UseOf(const device::MachineDrive& drive) {
  if (drive.mounts.empty()) return drive.in_use() ? "in use" : "not in use";
  std::string use = "mounted on " + drive.mounts.front().string();
  if (drive.mounts.size() > 1) use += fmt::format(" and {} more", drive.mounts.size() - 1);
  return use;
}

std::string Describe(const DriveView& view) {
  const device::MachineDrive& drive = view.drive;
  std::string line = "drive " + drive.Path() + ":";
  const auto add = [&line](const std::string& part) {
    if (!part.empty()) line += (line.ends_with(':') ? " " : ", ") + part;
  };
  if (drive.bytes > 0) add(FormatBytes(drive.bytes));
  add(drive.model);
  if (!drive.serial.empty()) add("serial " + drive.serial);
  if (drive.block.empty()) {
    add(drive.driver.empty() ? "no driver has it" : "bound to " + drive.driver);
  } else {
    add(UseOf(drive));
  }
  if (!view.content.empty()) add("carries " + view.content);
  return line;
}

}  // namespace

std::vector<DriveView> ViewDrives() {
  const device::PathChecks checks = device::PathChecks::Real();
  std::vector<DriveView> views;
  for (device::MachineDrive& drive : device::FindDrives()) {
    DriveView view{.content = ContentOf(drive), .paths = device::PathsOf(drive, checks)};
    view.drive = std::move(drive);
    views.push_back(std::move(view));
  }
  return views;
}

void PrintDrives(const std::vector<DriveView>& drives, std::FILE* out) {
  for (const DriveView& view : drives) fmt::print(out, "{}\n", Describe(view));
  if (drives.empty()) return;
  Table table({"drive", "path", "possible", "what is missing"});
  for (const DriveView& view : drives) {
    for (const device::DrivePath& path : view.paths) {
      table.Add({&path == view.paths.begin() ? view.drive.Path() : "", std::string(path.kind),
                 path.chosen       ? "chosen"
                 : path.possible() ? "yes"
                                   : "no",
                 path.needs});
    }
  }
  table.Print(out);
}

std::vector<Row> PathRows(const std::vector<DriveView>& drives) {
  std::vector<Row> rows;
  for (const DriveView& view : drives) {
    for (const device::DrivePath& path : view.paths) {
      rows.push_back({{"bench", "probe"},
                      {"case", "path"},
                      {"drive", view.drive.Path()},
                      {"path", path.kind},
                      {"possible", path.possible()},
                      {"chosen", path.chosen},
                      {"missing", path.needs}});
    }
  }
  return rows;
}

}  // namespace kvpool::cli
