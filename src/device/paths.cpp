#include "device/paths.h"

#include "device/nvme/nodes.h"
#include "device/nvme/nvme_device.h"

namespace kvpool::device {

ChosenPath ChoosePath(const DeviceConfig& config) {
  ChosenPath chosen{config, "nvme chosen for kind drive"};
  const std::string path = config.path.string();
  chosen.config.kind = DeviceKind::kNvme;
  const auto passes = CheckPassthrough(path);
  if (passes) return chosen;
  chosen.config.kind = DeviceKind::kBlock;
  chosen.config.path = BlockNodeOf(path);
  chosen.why = "block chosen for kind drive: " + passes.error().message;
  return chosen;
}

}  // namespace kvpool::device
