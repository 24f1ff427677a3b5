#include "device/label_search.h"

#include "device/raw_drive.h"

namespace kvpool::device {
namespace {

Result<Label> LabelOn(const MachineDrive& drive) {
  DeviceConfig config;
  config.name = drive.name;
  config.kind = drive.block.empty() ? DeviceKind::kNvme : DeviceKind::kBlock;
  config.path = drive.block.empty() ? drive.character : drive.block;
  return ReadLabel(config);
}

}  // namespace

std::vector<LabelledDrive> FindLabels(std::uint64_t pool_id, const MachineFiles& files) {
  std::vector<LabelledDrive> found;
  for (MachineDrive& drive : FindDrives(files)) {
    if (drive.in_use() || (drive.block.empty() && drive.character.empty())) continue;
    auto label = LabelOn(drive);
    if (!label || label->pool_id != pool_id) continue;
    found.push_back({std::move(drive), std::move(*label)});
  }
  return found;
}

}  // namespace kvpool::device
