#include "device/absent.h"

#include "base/check.h"
#include "base/limits.h"
#include "device/io_check.h"
#include "device/io_list.h"

namespace kvpool::device {
namespace {

std::string KindOf(const DeviceConfig& config) {
  switch (config.kind) {
    case DeviceKind::kMemory:
      return "memory";
    case DeviceKind::kFile:
      return "file";
    case DeviceKind::kBlock:
      return "block";
    case DeviceKind::kNvme:
      return "nvme";
    case DeviceKind::kSpdk:
      return "spdk";
    case DeviceKind::kDrive:
      return "drive";
  }
  KVPOOL_CHECK(false);
}

class AbsentQueue final : public Queue {
 public:
  explicit AbsentQueue(int event_fd) : event_fd_(event_fd) {}

  std::size_t Submit(std::span<Io* const> ios) override {
    for (Io* io : ios) {
      io->status = Status::kIoError;
      done_.Push(*io);
    }
    if (!ios.empty()) Notify(event_fd_);
    return ios.size();
  }
  std::size_t Poll(std::span<Io*> done) override { return done_.PopInto(done); }
  void Cancel(Io&) override {}

 private:
  const int event_fd_;
  IoList done_;
};

class AbsentDevice final : public Device {
 public:
  AbsentDevice(const DeviceConfig& config, std::string why) {
    traits_.name = config.name;
    traits_.kind = KindOf(config);
    traits_.description = std::move(why);
    traits_.capacity_bytes = config.capacity_bytes / kSlabBytes * kSlabBytes;
  }
  const Traits& traits() const override { return traits_; }
  Result<std::unique_ptr<Queue>> OpenQueue(const QueueOptions& options) override {
    return std::make_unique<AbsentQueue>(options.event_fd);
  }

 private:
  Traits traits_;
};

}  // namespace

std::unique_ptr<Device> MakeAbsent(const DeviceConfig& config, std::string why) {
  return std::make_unique<AbsentDevice>(config, std::move(why));
}

}  // namespace kvpool::device
