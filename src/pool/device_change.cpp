#include "pool/device_change.h"

#include <fmt/format.h>

#include <utility>

#include "base/units.h"
#include "pool/new_label.h"

namespace kvpool::pool {

Emptying::State Emptying::Look() {
  if (parts_.store->IsEmpty(parts_.device)) return State::kEmpty;
  const std::uint64_t used = parts_.store->UsedBytes()[parts_.device];
  const std::int64_t now_ns = parts_.clock->NowNs();
  if (used < least_) {
    least_ = used;
    until_ns_ = now_ns + parts_.patience_ns;
  }
  if (now_ns >= until_ns_) return State::kStuck;
  parts_.mover->Wake();
  return State::kGoesOn;
}

bool DeviceRemoval::Step() {
  const DeviceSlot& slot = *parts_.slots[parts_.device];
  if (stage_ == Stage::kEmptying) {
    const Emptying::State state = emptying_.Look();
    if (state == Emptying::State::kGoesOn) return false;
    if (state == Emptying::State::kEmpty) {
      Record();
      return false;
    }
    return End(
        Status::kTimedOut,
        fmt::format("{} of device {} are still in use: let go of leases and wait for "
                    "requests, then remove it again",
                    FormatBytes(parts_.store->UsedBytes()[parts_.device]), slot.config.name));
  }
  if (stage_ == Stage::kRecording) {
    if (!told_.load(std::memory_order_acquire)) return false;
    return End(recorded_,
               fmt::format("what was on device {} is on others now, but could not be recorded: put "
                           "drives and catalog right, then remove it again",
                           slot.config.name));
  }
  return true;
}

// The drive may be taken out afterwards: what was on it has to survive without it.
void DeviceRemoval::Record() {
  stage_ = Stage::kRecording;
  operation_.Reset(OperationKind::kFlush, flush_, parts_.slots.size());
  operation_.deadline_ns = parts_.clock->NowNs() + parts_.patience_ns;
  parts_.recorder->Add(operation_, *this);
}

void DeviceRemoval::Flushed(Operation&, Status status) {
  recorded_ = status;
  told_.store(true, std::memory_order_release);
}

bool DeviceRemoval::End(Status failed, const std::string& why) {
  stage_ = Stage::kDone;
  DeviceSlot& slot = *parts_.slots[parts_.device];
  const bool ok = failed == Status::kOk;
  const DeviceState then = ok ? DeviceState::kRemoved : DeviceState::kServing;
  if (!slot.health.Become(DeviceState::kLeaving, then)) {
    result_ = Fail(Status::kIoError, fmt::format("device {} was drained while it was emptied: {}",
                                                 slot.config.name, slot.health.reason()));
  } else if (!ok) {
    result_ = Fail(failed, why);
  }
  return true;
}

bool DeviceReplacement::Step() {
  const std::string name = parts_.slots[parts_.device]->config.name;
  const Emptying::State state = emptying_.Look();
  if (state == Emptying::State::kGoesOn) return false;
  if (state == Emptying::State::kStuck) {
    result_ = Fail(Status::kTimedOut,
                   fmt::format("requests still hold on to device {}: wait for them, then replace "
                               "it again",
                               name));
    return true;
  }
  const std::uint64_t drive_id = RandomId();
  auto made = make_(parts_.device, by_, drive_id);
  if (made) {
    parts_.store->Replace(parts_.device, std::move(*made), by_, drive_id);
  } else {
    result_ = tl::unexpected(made.error());
  }
  return true;
}

}  // namespace kvpool::pool
