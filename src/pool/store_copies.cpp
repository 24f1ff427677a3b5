// The part of Store that makes second places: what is spilled from memory to drives, and what
// memory may therefore give up.
#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"
#include "pool/store.h"

namespace kvpool::pool {

using index::EntryId;
using index::EntryState;
using index::kNoEntry;
using layout::UnitRecord;

namespace {

// Memory takes no more than the drives write in this time, so that what was put a few seconds ago
// survives a crash also while the writers go on.
constexpr double kSpillSeconds = 4;
constexpr std::size_t kDemotionTries = 64;  // a put's wait under the lock has a bound

}  // namespace

UnitRecord Store::DurablePlace(const index::EntryView& view, std::uint32_t unit) const {
  if (!IsVolatile(view.units[unit])) return view.units[unit];
  const bool copied = !view.copies.empty() && !view.copies[unit].IsNowhere();
  return copied && !IsVolatile(view.copies[unit]) ? view.copies[unit] : UnitRecord::Nowhere();
}

void Store::FreeSlot(const UnitRecord& unit) {
  if (unit.IsNowhere()) return;
  DeviceSlot& slot = *devices_[unit.device()];
  if (!slot.quarantine.Keeps(unit.offset())) slot.space->Free(unit.offset());
}

void Store::AddDirty(EntryId entry) {
  if (!options_.spill) return;
  dirty_.push_back({entry, index_.View(entry).generation, options_.clock->NowNs()});
}

bool Store::PlanSpill(std::uint64_t bytes, Move& move) {
  MutexLock lock(mutex_);
  LookAtDevices();
  std::uint64_t left = bytes;
  bool room = true;
  std::vector<Waiting> later;
  while (!dirty_.empty() && left > 0) {
    const Waiting waiting = dirty_.front();
    const bool there = index_.IsLive(waiting.entry, waiting.generation) &&
                       index_.View(waiting.entry).state == EntryState::kVisible;
    if (there && !MakeSecondPlaces(waiting.entry)) {
      later.push_back(waiting);
    } else if (there) {
      const std::size_t before = move.units.size();
      room = PlanSpillOf(waiting.entry, move);
      if (!room) break;
      if (before == 0 && !move.empty()) move.oldest_ns = waiting.since_ns;
      if (move.units.size() > before) moving_.push_back(waiting);
      for (const MovedUnit& unit : std::span(move.units).subspan(before)) {
        left -= std::min<std::uint64_t>(left, unit.bytes);
      }
    }
    dirty_.pop_front();
  }
  dirty_.insert(dirty_.begin(), later.begin(), later.end());
  return room;
}

// Each unit in memory only gets a second place. One may have it in memory that leaves, which goes
// unless somebody reads it: then, false, the block has to wait.
bool Store::MakeSecondPlaces(EntryId entry) {
  const auto view = index_.View(entry);
  if (view.copies.empty()) {
    index_.AddCopies(entry);
    return true;
  }
  for (std::uint32_t unit = 0; unit < view.shape.units; ++unit) {
    if (view.copies[unit].IsNowhere() || !IsDirty(view, unit)) continue;
    if (index_.pins(entry) > 0) return false;
    if (IsLeaving(view.units[unit])) std::swap(view.units[unit], view.copies[unit]);
    FreeSlot(std::exchange(view.copies[unit], UnitRecord::Nowhere()));
  }
  return true;
}

// All of a block's units at once: there are at most kMaxUnitsPerBlock.
bool Store::PlanSpillOf(EntryId entry, Move& move) {
  const auto view = index_.View(entry);
  const std::size_t first = move.units.size();
  const std::uint64_t seed = ChecksumSeed(spaces_[view.space].digest, view.key, view.generation);
  for (std::uint32_t unit = 0; unit < view.shape.units; ++unit) {
    if (!DurablePlace(view, unit).IsNowhere()) continue;
    move.units.push_back({.entry = entry,
                          .owner = OwnerOf(view.space, view.tenant),
                          .unit = unit,
                          .bytes = view.shape.BytesOf(unit),
                          .seed = seed,
                          .from = view.units[unit],
                          .to = UnitRecord::Nowhere()});
  }
  if (move.units.size() == first) return true;
  index_.Pin(entry);  // before anything is evicted
  if (!FindRoom(move, first, true, MayEvictToSpill())) {
    move.units.resize(first);
    Settle(entry, index_.Unpin(entry));
    return false;
  }
  move.entries.push_back(entry);
  return true;
}

// Deals the units from `first` on, all of one block, over the devices in proportion to their speed.
bool Store::FindRoom(Move& move, std::size_t first, bool durable, bool may_evict) {
  const std::uint64_t needed = move.units.size() - first;
  if (needed == 0) return true;
  const auto view = index_.View(move.units[first].entry);
  const std::uint32_t space = view.space;
  const std::uint32_t slot_bytes = view.shape.slot_bytes;
  // Where write budgets are spent, evicting makes no room.
  may_evict &= AttainableUnits(view.shape, durable) >= needed;
  while (FreeUnits(space, slot_bytes, durable) < needed) {
    if (!may_evict || !EvictOne()) return false;
  }
  Rates(space, slot_bytes, durable);
  const auto shares = layout::WholeShares(needed, rates_, options_.links);
  std::vector<std::uint64_t> slots;
  std::size_t next = first;
  for (std::size_t device = 0; device < devices_.size(); ++device) {
    if (shares[device] == 0) continue;
    slots.clear();
    KVPOOL_CHECK(devices_[device]->space->Allocate(space, slot_bytes, shares[device], slots));
    devices_[device]->budget.Spend(shares[device] * slot_bytes);
    for (const std::uint64_t offset : slots) {
      MovedUnit& unit = move.units[next++];
      unit.to = {static_cast<layout::DeviceIndex>(device), offset, unit.from.checksum()};
    }
  }
  KVPOOL_CHECK(next == move.units.size());
  return true;
}

// Where drives are smaller than memory, copies of all of it would leave no room for anything else.
bool Store::MayEvictToSpill() const {
  std::uint64_t memory = 0;
  std::uint64_t drives = 0;
  for (const auto& slot : devices_) {
    if (!slot->health.takes()) continue;
    (slot->volatile_bytes ? memory : drives) += slot->space->capacity_bytes();
  }
  return drives >= memory;
}

void Store::FinishMove(Move& move) {
  MutexLock lock(mutex_);
  const bool spilled = !move.evacuates;
  for (const MovedUnit& unit : move.units) FinishMoved(unit, spilled);
  for (const EntryId entry : move.entries) {
    const auto view = index_.View(entry);
    if (view.state == EntryState::kVisible) {
      if (!Recordable(view)) {
        AddDirty(entry);
      } else if (spilled) {
        BecomeDurable(entry);
      } else {
        RecordAdded(entry);  // takes the old row's place
      }
    }
    std::erase_if(moving_, [&](const Waiting& one) { return one.entry == entry; });
    Settle(entry, index_.Unpin(entry));
  }
}

void Store::FinishMoved(const MovedUnit& unit, bool spilled) {
  const auto view = index_.View(unit.entry);
  const bool damaged = unit.status == Status::kCorrupt;
  const bool wanted = view.state == EntryState::kVisible && unit.status == Status::kOk &&
                      devices_[unit.to.device()]->serves();
  if (!wanted || (spilled && !DurablePlace(view, unit.unit).IsNowhere())) {
    FreeSlot(unit.to);
    if (damaged && view.state == EntryState::kVisible) LoseDamaged(unit);
    return;
  }
  if (!spilled) return FinishEvacuated(unit);
  // One that was evacuated meanwhile has its second place in memory that leaves, which somebody may
  // read.
  UnitRecord& second = view.copies[unit.unit];
  if (!second.IsNowhere() && index_.pins(unit.entry) > 1) return FreeSlot(unit.to);
  FreeSlot(std::exchange(second, unit.to));
  dirty_bytes_ -= view.shape.slot_bytes;
  counts_.spilled_units += 1;
  counts_.spilled_bytes += view.shape.slot_bytes;
}

void Store::BecomeDurable(EntryId entry) {
  RecordAdded(entry);
  clean_.push_back({entry, index_.View(entry).generation, 0});
}

// Gives up the memory of a block that drives hold as well: the longest there, unless it was used
// since it was last looked at (CLOCK).
bool Store::DemoteOne() {
  for (std::size_t tries = std::min(clean_.size(), kDemotionTries); tries > 0; --tries) {
    const Waiting one = clean_.front();
    clean_.pop_front();
    if (!index_.IsLive(one.entry, one.generation)) continue;
    if (index_.pins(one.entry) > 0 || index_.TakeReferenced(one.entry)) {
      clean_.push_back(one);
      continue;
    }
    if (Demote(one.entry)) return true;
  }
  return false;
}

bool Store::Demote(EntryId entry) {
  const auto view = index_.View(entry);
  bool any = false;
  for (std::uint32_t unit = 0; unit < view.shape.units; ++unit) {
    if (!IsVolatile(view.units[unit]) || DurablePlace(view, unit).IsNowhere()) continue;
    const UnitRecord copy = std::exchange(view.copies[unit], UnitRecord::Nowhere());
    FreeSlot(view.units[unit]);
    view.units[unit] = copy;
    any = true;
  }
  return any;
}

// New blocks get their share of memory as long as old ones can do without theirs.
void Store::MakeRoomInMemory(std::uint32_t space, const layout::BlockShape& shape,
                             std::uint64_t units) {
  if (clean_.empty()) return;
  Rates(space, shape.slot_bytes, false);
  std::vector<layout::DeviceRate> ideal = rates_;
  for (std::size_t i = 0; i < ideal.size(); ++i) {
    if (devices_[i]->volatile_bytes && !ideal[i].closed) ideal[i].free_units = units;
  }
  const auto shares = layout::OptimalShares(static_cast<double>(units), ideal, options_.links);
  for (std::size_t i = 0; i < ideal.size(); ++i) {
    if (!devices_[i]->volatile_bytes) continue;
    const auto wanted = static_cast<std::uint64_t>(std::ceil(shares[i]));
    for (std::uint64_t tries = wanted; tries > 0; --tries) {
      if (devices_[i]->space->FreeSlots(space, shape.slot_bytes) >= wanted || !DemoteOne()) break;
    }
  }
}

std::uint64_t Store::DirtyUnitsAllowed(std::uint32_t slot_bytes) const {
  if (!options_.spill || !MayEvictToSpill()) return ~std::uint64_t{0};
  double rate = 0;
  for (const auto& slot : devices_) {
    if (!slot->volatile_bytes && slot->health.takes()) rate += SpeedOf(*slot).write_bytes_per_s;
  }
  const auto limit = static_cast<std::uint64_t>(rate * kSpillSeconds);
  return limit > dirty_bytes_ ? (limit - dirty_bytes_) / slot_bytes : 0;
}

bool Store::AnyDirtyBelow(std::uint64_t generation) const {
  const auto waits = [&](const Waiting& one) {
    return one.generation < generation && index_.IsLive(one.entry, one.generation) &&
           index_.View(one.entry).state == EntryState::kVisible;
  };
  return std::any_of(dirty_.begin(), dirty_.end(), waits) ||
         std::any_of(moving_.begin(), moving_.end(), waits);
}

bool Store::SettleFlush(Operation& operation) {
  MutexLock lock(mutex_);
  const bool late = options_.clock->NowNs() >= operation.deadline_ns;
  bool waits = false;
  if (operation.keys.empty()) {
    if (!AnyDirtyBelow(operation.generation)) return true;
    if (late) RequestAccess::Results(*operation.request).assign(1, Status::kTimedOut);
    return late;
  }
  for (std::size_t i = 0; i < operation.keys.size(); ++i) {
    KeyWork& key = operation.keys[i];
    if (key.entry == kNoEntry) continue;
    const bool there = index_.IsLive(key.entry, key.generation) &&
                       index_.View(key.entry).state == EntryState::kVisible;
    if (!there) {
      operation.SetKeyStatus(i, Status::kNotFound);
    } else if (!Recordable(index_.View(key.entry))) {
      if (!late) {
        waits = true;
        continue;
      }
      operation.SetKeyStatus(i, Status::kTimedOut);
    }
    key.entry = kNoEntry;
  }
  return !waits;
}

}  // namespace kvpool::pool
