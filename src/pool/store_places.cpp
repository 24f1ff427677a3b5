// The part of Store that reads from second places: the one that has a unit sooner, or the one that
// is left where the other has failed.
#include <algorithm>
#include <utility>

#include "pool/segments.h"
#include "pool/store.h"

namespace kvpool::pool {

using index::EntryId;
using index::EntryState;
using index::kNoEntry;
using layout::UnitRecord;

// The place of a unit that is not `than`, if it has one that can be read.
UnitRecord Store::OtherPlace(const index::EntryView& view, std::uint32_t unit,
                             const UnitRecord& than) const {
  for (const auto& places : {view.units, view.copies}) {
    if (places.empty() || places[unit].IsNowhere() || SamePlace(places[unit], than)) continue;
    if (devices_[places[unit].device()]->serves()) return places[unit];
  }
  return UnitRecord::Nowhere();
}

// The block has the unit elsewhere. Nobody else reads this place.
void Store::LosePlace(EntryId entry, std::uint32_t unit, const UnitRecord& place) {
  const auto view = index_.View(entry);
  const bool was_recorded = Recordable(view);
  const bool was_dirty = IsDirty(view, unit);
  if (view.copies.empty()) return;
  if (SamePlace(view.units[unit], place)) std::swap(view.units[unit], view.copies[unit]);
  if (!SamePlace(view.copies[unit], place)) return;
  FreeSlot(std::exchange(view.copies[unit], UnitRecord::Nowhere()));
  if (!was_dirty && IsDirty(view, unit)) dirty_bytes_ += view.shape.slot_bytes;
  RecordAgain(entry, was_recorded);
}

void Store::LoseDamaged(const MovedUnit& unit) {
  if (OtherPlace(index_.View(unit.entry), unit.unit, unit.from).IsNowhere()) {
    Remove(unit.entry);
  } else if (index_.pins(unit.entry) == 1) {
    LosePlace(unit.entry, unit.unit, unit.from);
  }
}

// How long each device has to work on what it was given, at its own speed.
void Store::StartLoads() {
  const auto now_ns = static_cast<double>(options_.clock->NowNs());
  loads_.resize(devices_.size());
  for (std::size_t i = 0; i < loads_.size(); ++i) {
    loads_[i].busy_until_ns = std::max(loads_[i].busy_until_ns, now_ns);
    loads_[i].ns_per_byte = 1e9 / SpeedOf(*devices_[i]).read_bytes_per_s;
  }
}

// Where a unit is read from: of two places the one that has it sooner. Leased memory costs nothing.
const UnitRecord& Store::ReadFrom(const index::EntryView& view, std::uint32_t unit, bool lease) {
  const auto ends_ns = [&](const UnitRecord& record) {
    const Load& load = loads_[record.device()];
    return load.busy_until_ns + load.ns_per_byte * view.shape.BytesOf(unit);
  };
  const UnitRecord* from = &view.units[unit];
  const bool choice = !lease && !view.copies.empty() && !view.copies[unit].IsNowhere();
  if (choice && ends_ns(view.copies[unit]) < ends_ns(*from)) from = &view.copies[unit];
  loads_[from->device()].busy_until_ns = ends_ns(*from);
  return *from;
}

// A get has units that failed. Those of blocks that have all of them elsewhere are read from there.
bool Store::ReadCopies(Operation& operation) {
  std::vector<std::uint8_t> repaired(operation.keys.size(), 0);
  for (std::uint32_t key = 0; key < operation.keys.size(); ++key) {
    const Status status = operation.KeyStatus(key);
    repaired[key] = operation.keys[key].entry != kNoEntry &&
                    (status == Status::kCorrupt || status == Status::kIoError) &&
                    HasOtherPlaces(operation, key);
  }
  if (std::count(repaired.begin(), repaired.end(), 1) == 0) return false;
  std::vector<std::vector<UnitWork>> again(operation.units.size());
  for (std::size_t device = 0; device < operation.units.size(); ++device) {
    for (const UnitWork& work : operation.units[device]) {
      if (work.status == Status::kOk || repaired[work.key] == 0) continue;
      const UnitRecord failed(static_cast<layout::DeviceIndex>(device), work.offset, 0);
      const UnitRecord good = UseOtherPlace(operation.keys[work.key].entry, work, failed);
      again[good.device()].push_back({.offset = good.offset(),
                                      .checksum = good.checksum(),
                                      .bytes = work.bytes,
                                      .key = work.key,
                                      .unit = work.unit});
    }
  }
  for (std::uint32_t key = 0; key < operation.keys.size(); ++key) {
    if (repaired[key] != 0) operation.SetKeyStatus(key, Status::kOk);
  }
  operation.StartAgain(std::move(again));
  return true;
}

// Each unit of the key that failed has another place, and there is room for what comes from there.
bool Store::HasOtherPlaces(const Operation& operation, std::uint32_t key) const {
  const auto view = index_.View(operation.keys[key].entry);
  if (view.state != EntryState::kVisible) return false;
  const bool has_room = TotalBytes(operation.SegmentsOfKey(key)) >= view.shape.block_bytes;
  if (operation.lease && !has_room) return false;
  for (std::size_t device = 0; device < operation.units.size(); ++device) {
    for (const UnitWork& work : operation.units[device]) {
      if (work.status == Status::kOk || work.key != key) continue;
      const UnitRecord failed(static_cast<layout::DeviceIndex>(device), work.offset, 0);
      if (OtherPlace(view, work.unit, failed).IsNowhere()) return false;
    }
  }
  return true;
}

// What is damaged is given up, unless somebody else still reads it.
UnitRecord Store::UseOtherPlace(EntryId entry, const UnitWork& work, const UnitRecord& failed) {
  const UnitRecord good = OtherPlace(index_.View(entry), work.unit, failed);
  if (work.status == Status::kCorrupt && index_.pins(entry) == 1) {
    LosePlace(entry, work.unit, failed);
  }
  return good;
}

}  // namespace kvpool::pool
