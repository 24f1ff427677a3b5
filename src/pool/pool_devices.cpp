// Devices that leave a pool, and others that take their places, while it runs.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <random>
#include <thread>

#include "base/units.h"
#include "device/open.h"
#include "pool/pool_impl.h"

namespace kvpool::pool {
namespace {

constexpr std::chrono::milliseconds kLook{10};

std::uint64_t RandomId() {
  std::random_device random;
  return (std::uint64_t{random()} << 32 | random()) | 1;
}

}  // namespace

Result<std::size_t> PoolImpl::FindDevice(std::string_view name) const {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i]->config.name == name) return i;
  }
  return Fail(Status::kNotFound,
              fmt::format("the pool has no device \"{}\": kvpool info lists them", name));
}

Result<void> PoolImpl::CheckRemovable(std::size_t device) const {
  const DeviceSlot& slot = *slots_[device];
  if (!slot.health.takes()) {
    return Fail(Status::kInvalid, fmt::format("device {} is {} already", slot.config.name,
                                              ToString(slot.health.state())));
  }
  const bool another = std::any_of(slots_.begin(), slots_.end(), [&](const auto& other) {
    return other.get() != &slot && other->health.takes() &&
           (slot.volatile_bytes || !other->volatile_bytes);
  });
  if (another) return {};
  return Fail(Status::kInvalid,
              fmt::format("device {} is the last {} of the pool: what it holds has nowhere to go",
                          slot.config.name, slot.volatile_bytes ? "device" : "drive"));
}

// As long as it gets emptier. False: requests or leases hold on to the rest.
bool PoolImpl::WaitUntilEmpty(std::size_t device) {
  const std::int64_t patience_ns = std::chrono::nanoseconds(config_.deadline).count();
  std::uint64_t least = ~std::uint64_t{0};
  std::int64_t until_ns = 0;
  for (;;) {
    if (store_->IsEmpty(device)) return true;
    const std::uint64_t used = store_->UsedBytes()[device];
    if (used < least) {
      least = used;
      until_ns = clock_.NowNs() + patience_ns;
    }
    if (clock_.NowNs() >= until_ns) return false;
    mover_->Wake();
    std::this_thread::sleep_for(kLook);
  }
}

Status PoolImpl::RecordNow() {
  class Told final : public FlushSink {
   public:
    void Flushed(Operation&, Status status) override { told_.set_value(status); }
    Status Wait() { return told_.get_future().get(); }

   private:
    std::promise<Status> told_;
  };
  FlushRequest flush;
  Operation operation;
  operation.Reset(OperationKind::kFlush, flush, slots_.size());
  operation.deadline_ns = clock_.NowNs() + std::chrono::nanoseconds(config_.deadline).count();
  Told told;
  recorder_->Add(operation, told);
  return told.Wait();
}

Result<void> PoolImpl::RemoveDevice(std::string_view name) {
  MutexLock lock(devices_mutex_);
  auto device = FindDevice(name);
  if (!device) return tl::unexpected(device.error());
  if (auto removable = CheckRemovable(*device); !removable) return removable;
  Health& health = slots_[*device]->health;
  const auto drained = [&] {
    return Fail(Status::kIoError, fmt::format("device {} was drained while it was emptied: {}",
                                              name, health.reason()));
  };
  if (!health.Become(DeviceState::kServing, DeviceState::kLeaving)) return drained();
  if (!WaitUntilEmpty(*device)) {
    const std::uint64_t used = store_->UsedBytes()[*device];
    if (!health.Become(DeviceState::kLeaving, DeviceState::kServing)) return drained();
    return Fail(Status::kTimedOut,
                fmt::format("{} of device {} are still in use: let go of leases and wait for "
                            "requests, then remove it again",
                            FormatBytes(used), name));
  }
  // The drive may be taken out now: what was on it has to survive without it.
  if (const Status recorded = RecordNow(); recorded != Status::kOk) {
    if (!health.Become(DeviceState::kLeaving, DeviceState::kServing)) return drained();
    return Fail(recorded,
                fmt::format("what was on device {} is on others now, but could not be "
                            "recorded: put drives and catalog right, then remove it again",
                            name));
  }
  if (!health.Become(DeviceState::kLeaving, DeviceState::kRemoved)) return drained();
  return {};
}

Result<std::unique_ptr<device::Device>> PoolImpl::LabelDrive(std::size_t device,
                                                             const DeviceConfig& by,
                                                             std::uint64_t drive_id) const {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  device::CreateOptions creation;
  creation.label = {.pool_id = pool_id_,
                    .device_id = drive_id,
                    .index = static_cast<std::uint32_t>(device),
                    .count = static_cast<std::uint32_t>(slots_.size()),
                    .created_unix_s = std::chrono::duration_cast<std::chrono::seconds>(now).count(),
                    .name = by.name};
  if (auto created = device::CreateDevice(by, creation); !created) {
    return tl::unexpected(created.error());
  }
  device::OpenOptions opening;
  opening.clock = &clock_;
  opening.pool_id = pool_id_;
  opening.device_id = creation.label.device_id;
  auto opened = device::OpenDevice(by, opening);
  if (!opened) (void)device::RemoveDevice(by, pool_id_);
  return opened;
}

Result<void> PoolImpl::ReplaceDevice(std::string_view name, const DeviceConfig& by) {
  MutexLock lock(devices_mutex_);
  auto device = FindDevice(name);
  if (!device) return tl::unexpected(device.error());
  const DeviceSlot& slot = *slots_[*device];
  if (slot.serves()) {
    return Fail(Status::kInvalid, fmt::format("device {} still serves: remove it first", name));
  }
  if (slot.volatile_bytes || by.kind == DeviceKind::kMemory) {
    return Fail(Status::kInvalid, "only a drive can be replaced, and only by a drive");
  }
  Config with = config_;
  for (std::size_t i = 0; i < with.devices.size(); ++i) with.devices[i] = slots_[i]->config;
  with.devices[*device] = by;
  if (const auto problems = with.Validate(); !problems.empty()) {
    return Fail(Status::kInvalid, problems.front());
  }
  if (!WaitUntilEmpty(*device)) {
    return Fail(Status::kTimedOut,
                fmt::format("requests still hold on to device {}: wait for them, then replace it "
                            "again",
                            name));
  }
  const std::uint64_t drive_id = RandomId();
  auto opened = LabelDrive(*device, by, drive_id);
  if (!opened) return tl::unexpected(opened.error());
  store_->Replace(*device, std::move(*opened), by, drive_id);
  TakeInMemory();  // wakes the lanes
  return {};
}

}  // namespace kvpool::pool
