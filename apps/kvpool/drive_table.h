// The drives of this machine and the ways to each: what `kvpool probe` shows of them.
#pragma once

#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include "apps/kvpool/results.h"
#include "device/paths.h"

namespace kvpool::cli {

struct DriveView {
  device::MachineDrive drive;
  std::string content;  // what it carries, as far as this user may look; empty: nothing known
  std::array<device::DrivePath, 4> paths;
};

std::vector<DriveView> ViewDrives();

// A line for each drive, and a table of the ways.
void PrintDrives(const std::vector<DriveView>& drives, std::FILE* out);
// One object for each way.
std::vector<Row> PathRows(const std::vector<DriveView>& drives);

}  // namespace kvpool::cli
