#include "device/nvme/nvme_device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/units.h"
#include "device/nvme/nvme_drive.h"
#include "device/nvme/nvme_queue.h"

namespace kvpool::device {
namespace {

class NvmeDevice final : public Device {
 public:
  NvmeDevice(std::unique_ptr<NvmeDrive> drive, const NvmeTarget& target, Traits traits)
      : drive_(std::move(drive)), traits_(std::move(traits)), target_(target) {
    target_.traits = &traits_;
  }

  const Traits& traits() const override { return traits_; }
  Result<std::unique_ptr<Queue>> OpenQueue(const QueueOptions& options) override {
    return OpenNvmeQueue(target_, options);
  }

 private:
  const std::unique_ptr<NvmeDrive> drive_;
  const Traits traits_;
  NvmeTarget target_;
};

// With polled completions where they are asked for, the driver keeps queues for them, and the
// kernel takes part.
Result<NvmeTarget> WorkingTarget(const NvmeDrive& drive, bool polled) {
  NvmeTarget target{.fd = drive.fd(),
                    .first_byte = kLabelAreaBytes,
                    .limits = drive.limits(),
                    .volatile_cache = drive.controller().volatile_cache,
                    .polled = polled && drive.nodes().polls};
  if (target.polled && TryNvmeQueue(target) == 0) return target;
  target.polled = false;
  const int error = TryNvmeQueue(target);
  if (error == 0) return target;
  return Fail(Status::kUnsupported,
              fmt::format("{} cannot be read by passthrough: {}; use Linux 5.19 or later (6.2 "
                          "unless as root) and allow io_uring, or set the device's kind to block",
                          drive.facts().where, std::strerror(error)),
              error);
}

const char* Completions(bool asked, bool polled) {
  if (polled) return "polled";
  return asked ? "by interrupt, for there are no poll queues: load nvme with poll_queues=N"
               : "by interrupt";
}

std::string Describe(const NvmeDrive& drive, bool asked, bool polled) {
  const NvmeController& controller = drive.controller();
  return fmt::format(
      "io_uring passthrough on {}, {}, serial {}, blocks of {} bytes, commands of at most {}, {}, "
      "{}",
      drive.character_path(), controller.model, controller.serial,
      drive.facts().logical_block_bytes, FormatBytes(drive.limits().max_bytes),
      controller.volatile_cache ? "volatile write cache" : "no volatile write cache",
      Completions(asked, polled));
}

}  // namespace

Result<void> CheckPassthrough(const std::string& path) {
  auto drive = NvmeDrive::Open(path, RawAccess::kLook);
  if (!drive) return tl::unexpected(drive.error());
  const std::string& character = (*drive)->character_path();
  if (::faccessat(AT_FDCWD, character.c_str(), R_OK | W_OK, AT_EACCESS) != 0) {
    return NoPermission(character, errno);
  }
  auto target = WorkingTarget(**drive, false);
  if (!target) return tl::unexpected(target.error());
  return {};
}

Result<std::unique_ptr<Device>> OpenNvmeDevice(const DeviceConfig& config,
                                               const OpenOptions& options) {
  auto drive = NvmeDrive::Open(config.path.string(), AccessFor(options.raw_use));
  if (!drive) return tl::unexpected(drive.error());
  const auto capacity_bytes = CapacityOf(**drive, config, options);
  if (!capacity_bytes) return tl::unexpected(capacity_bytes.error());
  const auto target = WorkingTarget(**drive, config.polled);
  if (!target) return tl::unexpected(target.error());
  Traits traits;
  traits.name = config.name;
  traits.kind = "nvme";
  traits.description = Describe(**drive, config.polled, target->polled);
  for (const std::string& remark : options.remarks) traits.description += "; " + remark;
  traits.capacity_bytes = *capacity_bytes;
  traits.numa_node = (*drive)->nodes().numa_node;
  traits.needs_polling = target->polled;
  return std::make_unique<NvmeDevice>(std::move(*drive), *target, std::move(traits));
}

}  // namespace kvpool::device
