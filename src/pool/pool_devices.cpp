// Devices that leave a pool, and others that take their places, while it runs.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "device/open.h"
#include "pool/new_label.h"
#include "pool/pool_impl.h"

namespace kvpool::pool {
namespace {

constexpr std::chrono::milliseconds kLook{10};
// The mover rests after a failure, and the recorder works once a second: who removes a device waits
// for them also where requests may not wait that long.
constexpr std::chrono::seconds kLeastPatience{2};

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

ChangeParts PoolImpl::PartsToChange(std::size_t device) const {
  return {
      .store = store_.get(),
      .recorder = recorder_.get(),
      .mover = mover_.get(),
      .clock = &clock_,
      .slots = slots_,
      .device = device,
      .patience_ns = std::max<std::chrono::nanoseconds>(config_.deadline, kLeastPatience).count()};
}

Result<std::unique_ptr<DeviceRemoval>> PoolImpl::BeginRemoval(std::string_view name) {
  const auto device = FindDevice(name);
  if (!device) return tl::unexpected(device.error());
  if (auto removable = CheckRemovable(*device); !removable) {
    return tl::unexpected(removable.error());
  }
  Health& health = slots_[*device]->health;
  if (!health.Become(DeviceState::kServing, DeviceState::kLeaving)) {
    return Fail(Status::kIoError,
                fmt::format("device {} was drained just now: {}", name, health.reason()));
  }
  return std::make_unique<DeviceRemoval>(PartsToChange(*device));
}

Result<void> PoolImpl::RemoveDevice(std::string_view name) {
  MutexLock lock(devices_mutex_);
  auto removal = BeginRemoval(name);
  if (!removal) return tl::unexpected(removal.error());
  while (!(*removal)->Step()) std::this_thread::sleep_for(kLook);
  return (*removal)->result();
}

Result<std::unique_ptr<device::Device>> PoolImpl::LabelDrive(std::size_t device,
                                                             const DeviceConfig& by,
                                                             std::uint64_t drive_id) const {
  device::CreateOptions creation;
  creation.label = NewLabel(pool_id_, drive_id, device, slots_.size(), by);
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

Result<std::unique_ptr<DeviceReplacement>> PoolImpl::BeginReplacement(std::string_view name,
                                                                      const DeviceConfig& by) {
  const auto device = FindDevice(name);
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
  MakeDrive make = make_drive_;
  if (!make) {
    make = [this](std::size_t index, const DeviceConfig& config, std::uint64_t drive_id) {
      return LabelDrive(index, config, drive_id);
    };
  }
  return std::make_unique<DeviceReplacement>(PartsToChange(*device), by, std::move(make));
}

Result<void> PoolImpl::ReplaceDevice(std::string_view name, const DeviceConfig& by) {
  MutexLock lock(devices_mutex_);
  auto replacement = BeginReplacement(name, by);
  if (!replacement) return tl::unexpected(replacement.error());
  while (!(*replacement)->Step()) std::this_thread::sleep_for(kLook);
  if (!(*replacement)->result()) return (*replacement)->result();
  TakeInMemory();  // wakes the lanes
  return {};
}

}  // namespace kvpool::pool
