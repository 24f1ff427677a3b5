// Which way a drive is reached, and why.
#pragma once

#include <string>

#include "kvpool/config.h"

namespace kvpool::device {

struct ChosenPath {
  DeviceConfig config;  // kNvme or kBlock, at the path that it needs
  std::string why;      // for people
};

// For DeviceKind::kDrive: passthrough where the drive's character device can be used, else the
// block layer.
ChosenPath ChoosePath(const DeviceConfig& config);

}  // namespace kvpool::device
