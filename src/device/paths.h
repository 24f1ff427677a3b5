// Which ways lead to a drive, what each needs that is missing, and which one is taken.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>

#include "device/machine.h"
#include "kvpool/config.h"
#include "kvpool/result.h"

namespace kvpool::device {

struct DrivePath {
  std::string_view kind;  // "spdk", "nvme", "block", "file"
  std::string needs;      // what is missing; empty: possible
  bool chosen = false;

  bool possible() const { return needs.empty(); }
};

// What has to be tried. Each answers with the sentence that says what is missing.
struct PathChecks {
  std::function<Result<void>(const MachineDrive&)> spdk;
  std::function<Result<void>(const MachineDrive&)> nvme;
  std::function<Result<void>(const MachineDrive&)> block;

  // Of this machine, build and user. Reads from the drives, changes nothing.
  static PathChecks Real();
};

// All four, in order of preference. The first that is possible is chosen: what bypasses more of the
// kernel comes first, and a drive that carries a mounted filesystem is left to that.
std::array<DrivePath, 4> PathsOf(const MachineDrive& drive, const PathChecks& checks);

struct ChosenPath {
  DeviceConfig config;  // kNvme or kBlock, at the path that it needs
  std::string why;      // for people
};

// For DeviceKind::kDrive: passthrough where the drive's character device can be used, else the
// block layer.
ChosenPath ChoosePath(const DeviceConfig& config);

}  // namespace kvpool::device
