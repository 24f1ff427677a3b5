// Stands in where SPDK was not there at build time.
#include "device/spdk/spdk_device.h"

#include <fmt/format.h>

namespace kvpool::device {
namespace {

tl::unexpected<Error> Refuse(const DeviceConfig& config) {
  return Fail(Status::kUnsupported,
              fmt::format("{} cannot be opened: this kvpool was built without SPDK; build it where "
                          "pkg-config finds spdk_nvme, or set the device's kind to nvme or block",
                          config.Where()));
}

}  // namespace

bool HasSpdk() { return false; }

Result<std::unique_ptr<Device>> OpenSpdkDevice(const DeviceConfig& config, const OpenOptions&) {
  return Refuse(config);
}

Result<std::unique_ptr<RawDrive>> OpenSpdkRawDrive(const DeviceConfig& config, RawAccess) {
  return Refuse(config);
}

}  // namespace kvpool::device
