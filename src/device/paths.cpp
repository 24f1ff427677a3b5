#include "device/paths.h"

namespace kvpool::device {

ChosenPath ChoosePath(const DeviceConfig& config) {
  ChosenPath chosen{config, "block chosen: this kvpool has no NVMe passthrough"};
  chosen.config.kind = DeviceKind::kBlock;
  return chosen;
}

}  // namespace kvpool::device
