#include "tests/sim/caretaker.h"

#include <algorithm>

namespace kvpool::sim {

bool Caretaker::Act() {
  if (!plan_.any() || !Idle() || world_.now() < next_act_ns_) return false;
  Random& random = world_.random;
  next_act_ns_ = world_.now() + static_cast<std::int64_t>(
                                    random.Below(2 * static_cast<std::uint64_t>(plan_.think_ns)));
  const std::size_t place = random.Below(setting_.rack.size());
  const DeviceState state = setting_.pool.info().devices[place].state;
  if (state == DeviceState::kServing) {
    return random.Chance(plan_.removes) && Remove(place, false);
  }
  if (!setting_.rack.drive(place).spec().memory && random.Chance(plan_.replaces)) {
    Replace(place, state);
  }
  return !Idle();
}

bool Caretaker::Remove(std::size_t place, bool surely) {
  const PoolInfo info = setting_.pool.info();
  auto begun = setting_.pool.BeginRemoval(info.devices[place].name);
  world_.Note("caretaker: removes {}, begun {}", place, static_cast<int>(begun.has_value()));
  const bool memory = setting_.rack.drive(place).spec().memory;
  bool another = false;
  for (std::size_t i = 0; i < info.devices.size(); ++i) {
    another |= i != place && info.devices[i].state == DeviceState::kServing &&
               (memory || !setting_.rack.drive(i).spec().memory);
  }
  const bool may = another && info.devices[place].state == DeviceState::kServing;
  if (begun.has_value() != may) Fail("may or may not be removed, and the pool says otherwise");
  if (!begun) return false;
  removal_ = std::move(*begun);
  place_ = place;
  surely_ = surely;
  troubles_ = world_.troubles;
  return true;
}

void Caretaker::Replace(std::size_t place, DeviceState state) {
  const Scenario& scenario = setting_.scenario;
  spare_ = DrawSpare(world_.random, scenario, setting_.rack.drive(place).spec());
  auto begun = setting_.pool.BeginReplacement(setting_.rack.config(place).name,
                                              DrawDeviceConfig(world_.random, spare_));
  world_.Note("caretaker: replaces {}", place);
  place_ = place;
  before_ = state;
  if (!begun) return Fail("does not serve, and cannot be replaced");
  replacement_ = std::move(*begun);
}

Result<std::unique_ptr<device::Device>> Caretaker::MakeDrive(std::size_t place,
                                                             const DeviceConfig& config) {
  if (world_.random.Chance(0.1)) {
    return kvpool::Fail(Status::kIoError, "the simulated drive cannot be labelled: try again");
  }
  return setting_.rack.Replace(place, spare_, config).Open();
}

bool Caretaker::Step() {
  if (world_.crashed()) return false;
  if (removal_ && removal_->Step()) {
    const Result<void> result = removal_->result();
    removal_.reset();
    EndRemoval(result);
    return true;
  }
  if (replacement_ && replacement_->Step()) {
    const Result<void> result = replacement_->result();
    replacement_.reset();
    EndReplacement(result);
    return true;
  }
  return false;
}

std::int64_t Caretaker::NextNs() const {
  if (removal_) return removal_->NextStepNs();
  if (replacement_) return replacement_->NextStepNs();
  return plan_.any() ? next_act_ns_ : World::kNever;
}

void Caretaker::EndRemoval(const Result<void>& result) {
  const DeviceState state = setting_.pool.info().devices[place_].state;
  world_.Note("caretaker: {} is {}", place_, static_cast<int>(state));
  if (result) {
    if (state != DeviceState::kRemoved) Fail("was removed, and still serves");
    CheckEmpty();
    CheckRecorded();
    setting_.rack.Retire(place_, !setting_.rack.drive(place_).spec().memory &&
                                     world_.random.Chance(plan_.takes_out));
    return;
  }
  const Status status = result.error().status;
  if (status != Status::kTimedOut && status != Status::kIoError) {
    Fail(fmt::format("was not removed: \"{}\"", ToString(status)));
  }
  if (state != DeviceState::kServing && state != DeviceState::kDrained) {
    Fail(fmt::format("was not removed, and is {}", ToString(state)));
  }
  if (surely_ && !setting_.rack.Stalls() && troubles_ == world_.troubles && NoneDrained(setting_)) {
    Fail(fmt::format("could not be removed though nobody used it: {}", result.error().message));
  }
}

void Caretaker::EndReplacement(const Result<void>& result) {
  const DeviceState state = setting_.pool.info().devices[place_].state;
  world_.Note("caretaker: in {} another, {}", place_, static_cast<int>(state));
  if (result) {
    if (state != DeviceState::kServing) Fail("was replaced, and does not serve");
    CheckEmpty();
    if (before_ != DeviceState::kDrained) return;
    // What was only there has gone, and what had another place has lost one.
    setting_.oracle.DoubtDurable();
    ++world_.troubles;
    return;
  }
  const Status status = result.error().status;
  if (status != Status::kTimedOut && status != Status::kIoError) {
    Fail(fmt::format("was not replaced: \"{}\"", ToString(status)));
  }
  if (state != before_) Fail(fmt::format("was not replaced, and is {}", ToString(state)));
}

void Caretaker::CheckEmpty() {
  const std::uint64_t bytes = setting_.pool.audit().visible_bytes[place_];
  if (bytes != 0) Fail(fmt::format("blocks have {} bytes on it, and it is to be empty", bytes));
}

// Without the device every block that is there, and on drives, has to survive. Old rows of blocks
// that another drive has just taken with it may still be there.
void Caretaker::CheckRecorded() {
  if (!NoneDrained(setting_) || setting_.rack.away_mask() != 0) return;
  for (const auto& [generation, row] : setting_.catalog.rows) {
    const bool there = std::any_of(row.units.begin(), row.units.end(),
                                   [&](const auto& unit) { return unit.device() == place_; });
    if (there)
      Fail(fmt::format("block {} is recorded to lie on it, and it was removed", generation));
  }
}

void Caretaker::Fail(const std::string& text) {
  world_.Fail(Failure::kOther, fmt::format("device {} {}", place_, text));
}

}  // namespace kvpool::sim
