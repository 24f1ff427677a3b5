// DeviceSlot: one device of the pool with what the pool knows of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "device/device.h"
#include "kvpool/config.h"
#include "layout/space_map.h"
#include "pool/device_counters.h"
#include "pool/health.h"
#include "pool/quarantine.h"
#include "pool/speed_meter.h"
#include "pool/write_budget.h"

namespace kvpool::pool {

// Whose the bytes of a space's blocks are, to a device (Io::owner): a party a tenant.
constexpr std::uint32_t OwnerOf(std::uint32_t space, std::uint32_t tenant) {
  return (tenant << device::kOwnerBits) + space + 1;
}

// Threads: counters any; space and budget under the store's lock; the rest immutable once open, but
// for Store::Replace, before which nothing lies on the device; whoever may run beside it reads
// under the store's lock.
struct DeviceSlot {
  explicit DeviceSlot(const DeviceConfig& with)
      : config(with),
        budget(with.write_budget_per_day),
        speed(std::make_unique<SpeedMeter>(ConfiguredSpeed())) {}
  Speed ConfiguredSpeed() const { return {config.read_bytes_per_s, config.write_bytes_per_s}; }

  DeviceConfig config;
  std::unique_ptr<device::Device> device;
  std::optional<layout::SpaceMap> space;
  WriteBudget budget;
  std::uint64_t drive_id = 0;              // in its label; 0: memory
  std::uint64_t bytes_written_before = 0;  // by other processes before this one
  bool volatile_bytes = false;             // Traits of the device, at hand
  bool mapped = false;

  std::unique_ptr<SpeedMeter> speed;
  std::atomic<std::uint64_t> bytes_read{0};
  std::atomic<std::uint64_t> bytes_written{0};
  std::atomic<std::uint64_t> bytes_flushed{0};  // of bytes_written, known to survive a power cut
  DeviceCounters counters;
  Health health;
  Quarantine quarantine;
  std::atomic<bool> held_on{false};  // it has memory and queues that were left to it for ever

  // Devices that stood here before, for queues that are not gone yet. Goes up with each: lanes open
  // their queues anew.
  std::vector<std::unique_ptr<device::Device>> former;
  std::vector<std::unique_ptr<SpeedMeter>> former_speeds;
  std::atomic<std::uint32_t> replaced{0};

  bool serves() const { return health.serves(); }
  std::uint64_t moved_bytes() const { return bytes_read.load() + bytes_written.load(); }
};

}  // namespace kvpool::pool
