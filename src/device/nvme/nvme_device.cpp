#include "device/nvme/nvme_device.h"

#include <fmt/format.h>

namespace kvpool::device {
namespace {

tl::unexpected<Error> Refuse(const DeviceConfig& config) {
  return Fail(Status::kUnsupported, fmt::format("{} cannot be opened by passthrough: this kvpool "
                                                "has none; set the device's kind to block",
                                                config.Where()));
}

}  // namespace

Result<std::unique_ptr<Device>> OpenNvmeDevice(const DeviceConfig& config, const OpenOptions&) {
  return Refuse(config);
}

Result<void> CreateNvmeDevice(const DeviceConfig& config, const CreateOptions&) {
  return Refuse(config);
}

Result<void> RemoveNvmeDevice(const DeviceConfig& config, std::uint64_t) { return Refuse(config); }

Result<Label> ReadNvmeLabel(const DeviceConfig& config) { return Refuse(config); }

}  // namespace kvpool::device
