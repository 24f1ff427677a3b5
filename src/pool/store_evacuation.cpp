// The part of Store that empties devices which are being removed, and puts others in their places.
#include <algorithm>
#include <utility>

#include "base/checksum.h"
#include "pool/store.h"

namespace kvpool::pool {

using index::EntryId;
using index::EntryState;
using index::kNoEntry;
using layout::UnitRecord;

namespace {

constexpr EntryId kLookAtOnce = 64;        // a move may hold a little more than it was asked for
constexpr EntryId kEvacuationLook = 4096;  // entries: a bounded time under the lock

}  // namespace

bool Store::IsLeaving(const UnitRecord& unit) const {
  return !unit.IsNowhere() && devices_[unit.device()]->health.state() == DeviceState::kLeaving;
}

bool Store::PlanEvacuation(std::uint64_t bytes, Move& move) {
  MutexLock lock(mutex_);
  LookAtDevices();
  if ((closed_ & ~gone_) == 0) return false;
  std::uint64_t planned = 0;
  for (EntryId looked = 0; looked < kEvacuationLook && planned < bytes; looked += kLookAtOnce) {
    found_.clear();
    evacuated_to_ = index_.ForSome(evacuated_to_, kLookAtOnce, [this](EntryId entry) {
      found_.push_back({entry, index_.View(entry).generation, 0});
    });
    const std::size_t before = move.units.size();
    for (const Waiting& found : found_) {  // one may be evicted for another
      if (index_.IsLive(found.entry, found.generation)) Evacuate(found.entry, move);
    }
    for (const MovedUnit& unit : std::span(move.units).subspan(before)) planned += unit.bytes;
    if (evacuated_to_ != kNoEntry) continue;
    evacuated_to_ = 0;  // and again, until nothing is left there
    break;
  }
  move.oldest_ns = options_.clock->NowNs();
  move.evacuates = true;
  return evacuated_to_ != 0;
}

void Store::Evacuate(EntryId entry, Move& move) {
  const bool any = [&] {
    const auto view = index_.View(entry);
    const auto leaves = [this](const UnitRecord& unit) { return IsLeaving(unit); };
    return view.state == EntryState::kVisible &&
           (std::any_of(view.units.begin(), view.units.end(), leaves) ||
            std::any_of(view.copies.begin(), view.copies.end(), leaves));
  }();
  if (!any) return;
  if (index_.View(entry).copies.empty()) index_.AddCopies(entry);
  const auto view = index_.View(entry);
  const bool was_recorded = Recordable(view);
  const std::uint64_t seed = ChecksumSeed(spaces_[view.space].digest, view.key, view.generation);
  std::vector<MovedUnit> to_drives;
  std::vector<MovedUnit> anywhere;
  bool dropped = false;
  for (std::uint32_t unit = 0; unit < view.shape.units; ++unit) {
    const bool first = IsLeaving(view.units[unit]);
    if (!first && !IsLeaving(view.copies[unit])) continue;
    const Leaving leaving = DropLeaving(entry, unit);
    dropped |= leaving == Leaving::kDropped;
    if (leaving != Leaving::kMoves) continue;
    const UnitRecord from = first ? view.units[unit] : view.copies[unit];
    (IsVolatile(from) ? anywhere : to_drives)
        .push_back({.entry = entry,
                    .owner = OwnerOf(view.space, view.tenant),
                    .unit = unit,
                    .bytes = view.shape.BytesOf(unit),
                    .seed = seed,
                    .from = from,
                    .to = UnitRecord::Nowhere()});
  }
  if (dropped) RecordAgain(entry, was_recorded);
  index_.Pin(entry);  // before anything is evicted
  const std::size_t before = move.units.size();
  for (auto* units : {&to_drives, &anywhere}) {
    const std::size_t first = move.units.size();
    move.units.insert(move.units.end(), units->begin(), units->end());
    if (!FindRoom(move, first, units == &to_drives, true)) move.units.resize(first);
  }
  if (move.units.size() == before) return Settle(entry, index_.Unpin(entry));
  move.entries.push_back(entry);
}

// A unit that has another place, as durable, needs no move. Who reads it now keeps it meanwhile.
Store::Leaving Store::DropLeaving(EntryId entry, std::uint32_t unit) {
  const auto view = index_.View(entry);
  const bool first = IsLeaving(view.units[unit]);
  const UnitRecord& stays = first ? view.copies[unit] : view.units[unit];
  const UnitRecord& leaves = first ? view.units[unit] : view.copies[unit];
  if (stays.IsNowhere()) return Leaving::kMoves;
  // Somebody may read either place, and there is none for a third one.
  if (index_.pins(entry) > 0) return Leaving::kWaits;
  if (IsLeaving(stays) || (IsVolatile(stays) && !IsVolatile(leaves))) return Leaving::kMoves;
  FreeSlot(leaves);
  if (first) view.units[unit] = view.copies[unit];
  view.copies[unit] = UnitRecord::Nowhere();
  return Leaving::kDropped;
}

// The unit has been copied off its leaving device. The old place goes, unless somebody reads it:
// then it stays as the second one, where there is room for that, until a later look.
void Store::FinishEvacuated(const MovedUnit& unit) {
  const auto view = index_.View(unit.entry);
  const bool was_dirty = IsDirty(view, unit.unit);
  UnitRecord& first = view.units[unit.unit];
  UnitRecord& second = view.copies[unit.unit];
  const bool was_first = SamePlace(first, unit.from);
  const bool alone = index_.pins(unit.entry) == 1;
  if (!was_first && !SamePlace(second, unit.from)) return FreeSlot(unit.to);
  if (alone) {
    FreeSlot(unit.from);
    (was_first ? first : second) = unit.to;
  } else if (was_first && second.IsNowhere()) {
    second = std::exchange(first, unit.to);
  } else {
    FreeSlot(unit.to);
  }
  if (was_dirty && !IsDirty(view, unit.unit)) dirty_bytes_ -= view.shape.slot_bytes;
}

void Store::Replace(std::size_t index, std::unique_ptr<device::Device> by,
                    const DeviceConfig& config, std::uint64_t drive_id) {
  MutexLock lock(mutex_);
  forgotten_.clear();
  kept_rows_.TakeDevice(index, forgotten_);
  for (const std::uint64_t generation : forgotten_) RecordRemoved(generation);
  DeviceSlot& slot = *devices_[index];
  slot.former.push_back(std::exchange(slot.device, std::move(by)));
  slot.config = config;
  slot.former_speeds.push_back(
      std::exchange(slot.speed, std::make_unique<SpeedMeter>(slot.ConfiguredSpeed())));
  slot.drive_id = drive_id;
  slot.budget = WriteBudget(config.write_budget_per_day);
  slot.bytes_written_before = 0 - slot.bytes_written.load();  // the count starts anew
  const device::Traits& traits = slot.device->traits();
  slot.space.emplace(0, traits.capacity_bytes / kSlabBytes * kSlabBytes);
  slot.bytes_flushed.store(slot.bytes_written.load());
  slot.quarantine.StartAnew();
  slot.replaced.fetch_add(1, std::memory_order_release);
  slot.health.StartAnew();
}

}  // namespace kvpool::pool
