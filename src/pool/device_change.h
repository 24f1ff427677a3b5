// Devices that leave a pool, and others that take their places, a step at a time: who waits between
// the steps, and how, is the caller's.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/clock.h"
#include "kvpool/config.h"
#include "kvpool/request.h"
#include "kvpool/result.h"
#include "pool/device_slot.h"
#include "pool/mover.h"
#include "pool/operation.h"
#include "pool/recorder.h"
#include "pool/store.h"

namespace kvpool::pool {

// All of it outlives the change.
struct ChangeParts {
  Store* store = nullptr;
  Recorder* recorder = nullptr;
  Mover* mover = nullptr;
  const Clock* clock = nullptr;
  std::span<const std::unique_ptr<DeviceSlot>> slots;
  std::size_t device = 0;        // the one that changes
  std::int64_t patience_ns = 0;  // for a device that does not get emptier
};

// Whether a device gets empty. Threads: one.
class Emptying {
 public:
  enum class State : std::uint8_t { kGoesOn, kEmpty, kStuck };
  explicit Emptying(const ChangeParts& parts) : parts_(parts) {}

  // kStuck: it has held the same for as long as patience lasts.
  State Look();
  // When it is stuck, if nothing moves.
  std::int64_t until_ns() const { return until_ns_; }

 private:
  const ChangeParts& parts_;
  std::uint64_t least_ = ~std::uint64_t{0};  // bytes that were in use
  std::int64_t until_ns_ = 0;
};

// Empties a device that is kLeaving by now, records that, and makes it kRemoved; or kServing again,
// where that fails.
// Threads: one, beside the pool's own.
class DeviceRemoval final : private FlushSink {
 public:
  explicit DeviceRemoval(const ChangeParts& parts) : parts_(parts) {}
  // Not between a Step that was false and the next one, unless the pool's parts rest.
  ~DeviceRemoval() override = default;

  // Waits for nothing. True once there is a result.
  bool Step();
  // kTimedOut: requests or leases hold on to the device. Any of Recorder's: it could not be
  // recorded. kIoError: it was drained meanwhile.
  const Result<void>& result() const { return result_; }
  // When Step should run again, if nothing moves.
  std::int64_t NextStepNs() const { return emptying_.until_ns(); }

 private:
  void Flushed(Operation& operation, Status status) override;
  void Record();
  bool End(Status failed, const std::string& why);

  const ChangeParts parts_;
  Emptying emptying_{parts_};
  enum class Stage : std::uint8_t { kEmptying, kRecording, kDone } stage_ = Stage::kEmptying;
  FlushRequest flush_;
  Operation operation_;
  Status recorded_ = Status::kOk;
  std::atomic<bool> told_{false};
  Result<void> result_;
};

// Makes a drive the pool's: labels and opens it, for the place of a device. `drive_id` is for the
// label.
using MakeDrive = std::function<Result<std::unique_ptr<device::Device>>(
    std::size_t device, const DeviceConfig& config, std::uint64_t drive_id)>;

// Puts another drive in the place of a device that serves no more.
// Threads: one, beside the pool's own.
class DeviceReplacement {
 public:
  DeviceReplacement(const ChangeParts& parts, const DeviceConfig& by, MakeDrive make)
      : parts_(parts), by_(by), make_(std::move(make)) {}

  // Waits for nothing but the new drive. True once there is a result.
  bool Step();
  // kTimedOut: requests hold on to the former device. Any of MakeDrive's.
  const Result<void>& result() const { return result_; }
  std::int64_t NextStepNs() const { return emptying_.until_ns(); }

 private:
  const ChangeParts parts_;
  const DeviceConfig by_;
  const MakeDrive make_;
  Emptying emptying_{parts_};
  Result<void> result_;
};

}  // namespace kvpool::pool
