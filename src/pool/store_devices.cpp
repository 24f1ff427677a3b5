// What Store does about devices that are gone: drained or removed.
#include <algorithm>
#include <utility>

#include "pool/store.h"

namespace kvpool::pool {

using index::EntryId;
using index::kNoEntry;
using layout::UnitRecord;

namespace {

constexpr EntryId kSweepAtOnce = 4096;  // entries: some 100 us under the lock

bool LiesOn(const UnitRecord& unit, std::uint64_t devices) {
  return !unit.IsNowhere() && (devices >> unit.device() & 1) != 0;
}

bool Touches(const index::EntryView& view, std::uint64_t devices) {
  const auto on = [devices](const UnitRecord& unit) { return LiesOn(unit, devices); };
  return std::any_of(view.units.begin(), view.units.end(), on) ||
         std::any_of(view.copies.begin(), view.copies.end(), on);
}

}  // namespace

std::uint64_t Store::GoneMask() const {
  std::uint64_t mask = 0;
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    if (!devices_[i]->serves()) mask |= std::uint64_t{1} << i;
  }
  return mask;
}

void Store::LookAtDevices() {
  gone_ = GoneMask();
  closed_ = 0;
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    if (!devices_[i]->health.takes()) closed_ |= std::uint64_t{1} << i;
  }
  closed_ |= gone_;
}

bool Store::Takes(std::size_t device, bool durable) const {
  DeviceSlot& slot = *devices_[device];
  return (closed_ >> device & 1) == 0 && !(durable && slot.volatile_bytes) && BudgetLeft(slot) > 0;
}

bool Store::IsLost(const index::EntryView& view, std::uint64_t gone) {
  if (gone == 0) return false;
  for (std::uint32_t unit = 0; unit < view.shape.units; ++unit) {
    if (!LiesOn(view.units[unit], gone)) continue;
    if (view.copies.empty() || view.copies[unit].IsNowhere()) return true;
    if (LiesOn(view.copies[unit], gone)) return true;
  }
  return false;
}

bool Store::Rescue(EntryId entry) {
  const auto view = index_.View(entry);
  if (IsLost(view, gone_)) {
    Remove(entry);
    return false;
  }
  if (view.copies.empty()) return true;
  const bool was_recorded = Recordable(view);
  bool changed = false;
  for (std::uint32_t unit = 0; unit < view.shape.units; ++unit) {
    const bool first = LiesOn(view.units[unit], gone_);
    if (!first && !LiesOn(view.copies[unit], gone_)) continue;
    if (first) std::swap(view.units[unit], view.copies[unit]);
    FreeSlot(view.copies[unit]);
    view.copies[unit] = UnitRecord::Nowhere();
    if (IsVolatile(view.units[unit])) dirty_bytes_ += view.shape.slot_bytes;
    changed = true;
  }
  if (changed) RecordAgain(entry, was_recorded);
  return true;
}

// A block has lost places. What memory alone holds is spilled anew.
void Store::RecordAgain(EntryId entry, bool was_recorded) {
  if (Recordable(index_.View(entry))) return RecordAdded(entry);  // takes the old row's place
  if (was_recorded) RecordRemoved(index_.View(entry).generation);
  AddDirty(entry);
}

void Store::FreeReturned() {
  for (const auto& slot : devices_) {
    if (!slot->quarantine.HasFree()) continue;
    returned_.clear();
    slot->quarantine.TakeFree(returned_);
    for (const std::uint64_t offset : returned_) slot->space->Free(offset);
  }
}

// Nothing appears behind the sweep: a put that ends with units on a device that is gone is not
// published.
bool Store::SweepGone() {
  MutexLock lock(mutex_);
  FreeReturned();
  LookAtDevices();
  if (gone_ != sweeping_) {
    sweeping_ = gone_;
    swept_to_ = 0;
  }
  if (sweeping_ == 0 || swept_to_ == kNoEntry) return false;
  lost_.clear();
  swept_to_ = index_.ForSome(swept_to_, kSweepAtOnce, [this](EntryId entry) {
    if (Touches(index_.View(entry), sweeping_)) lost_.push_back(entry);
  });
  for (const EntryId entry : lost_) Rescue(entry);
  return swept_to_ != kNoEntry;
}

bool Store::IsEmpty(std::size_t device) const {
  MutexLock lock(mutex_);
  const DeviceSlot& slot = *devices_[device];
  std::uint64_t given_up = 0;
  for (const std::uint64_t offset : slot.quarantine.GivenUp()) {
    given_up += slot.space->SlotBytesAt(offset);
  }
  return slot.space->used_bytes() == given_up;
}

std::vector<DeviceInfo> Store::Devices() const {
  const std::vector<double> shares = WantedShares();
  const std::vector<catalog::WearRow> wear = Wear(0);
  std::vector<DeviceInfo> devices;
  MutexLock lock(mutex_);  // a device may be replaced
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    const DeviceSlot& slot = *devices_[i];
    const device::Traits& traits = slot.device->traits();
    devices.push_back({.name = slot.config.name,
                       .kind = traits.kind,
                       .description = traits.description,
                       .capacity_bytes = slot.space->capacity_bytes(),
                       .used_bytes = slot.space->used_bytes(),
                       .read_bytes_per_s = slot.config.read_bytes_per_s,
                       .write_bytes_per_s = slot.config.write_bytes_per_s,
                       .measured_read_bytes_per_s = slot.speed->in_use().read_bytes_per_s,
                       .measured_write_bytes_per_s = slot.speed->in_use().write_bytes_per_s,
                       .share = shares[i],
                       .bytes_read = slot.bytes_read.load(),
                       .bytes_written = slot.bytes_written.load(),
                       .bytes_written_ever = wear[i].bytes_written,
                       .write_budget_per_day = slot.config.write_budget_per_day,
                       .write_budget_left = slot.budget.limited() ? wear[i].budget_left : 0,
                       .io_errors = slot.health.io_errors(),
                       .checksum_failures = slot.health.checksum_failures(),
                       .missed_deadlines = slot.health.missed_deadlines(),
                       .transfers_abandoned = slot.health.abandoned(),
                       .state = slot.health.state(),
                       .state_reason = slot.health.reason()});
  }
  return devices;
}

}  // namespace kvpool::pool
