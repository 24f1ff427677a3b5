#include "pool/store.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/checksum.h"
#include "base/limits.h"
#include "index/eviction_policy.h"
#include "pool/segments.h"

namespace kvpool::pool {

using index::EntryId;
using index::EntryState;
using index::kNoEntry;

Store::Store(const StoreOptions& options, std::span<const std::unique_ptr<DeviceSlot>> devices,
             std::vector<index::EvictionGroup> groups)
    : options_(options),
      devices_(devices),
      index_(std::move(groups)),
      tenants_(MakeTenants(options.tenants)) {
  offsets_.resize(devices.size());
  index_.Watch(&watchers_);
}

std::size_t Store::Match(Space space, std::span<const Key> keys) const {
  MutexLock lock(mutex_);
  return index_.Match(space.id, keys);
}

void Store::Contains(Space space, std::span<const Key> keys, std::span<bool> present) const {
  MutexLock lock(mutex_);
  index_.Contains(space.id, keys, present);
}

void Store::Drop(const DropRequest& drop, Operation& operation) {
  MutexLock lock(mutex_);
  for (std::size_t i = 0; i < drop.keys.size(); ++i) {
    RemoveKept(drop.space.id, drop.keys[i]);
    const EntryId entry = index_.Find(drop.space.id, drop.keys[i]);
    if (entry == kNoEntry || index_.View(entry).state != EntryState::kVisible) {
      operation.SetKeyStatus(i, Status::kNotFound);
    } else {
      Remove(entry);
    }
  }
}

bool Store::CheckFlush(const FlushRequest& flush, Operation& operation) {
  MutexLock lock(mutex_);
  bool durable = true;
  if (flush.keys.empty()) {
    operation.generation = next_generation_;
    return !AnyDirtyBelow(next_generation_);
  }
  const std::uint64_t gone = GoneMask();
  for (std::size_t i = 0; i < flush.keys.size(); ++i) {
    const EntryId entry = index_.Find(flush.space.id, flush.keys[i]);
    if (entry == kNoEntry || index_.View(entry).state != EntryState::kVisible ||
        IsLost(index_.View(entry), gone)) {
      operation.SetKeyStatus(i, Status::kNotFound);
    } else if (!options_.record_changes) {
      operation.SetKeyStatus(i, Status::kUnsupported);
    } else if (!Recordable(index_.View(entry))) {
      const std::uint64_t generation = index_.View(entry).generation;
      operation.keys[i].entry = entry;
      operation.keys[i].generation = generation;
      dirty_.push_front({entry, generation, options_.clock->NowNs()});
      durable = false;
    }
  }
  return durable;
}

// By where the operation found its units: the index may have moved on since.
void Store::Settle(EntryId entry, bool may_erase) {
  if (!may_erase) return;
  const auto view = index_.View(entry);
  for (std::uint32_t unit = 0; unit < view.shape.units; ++unit) {
    if (IsDirty(view, unit)) {
      dirty_bytes_ -= view.shape.slot_bytes;
    }
    FreeSlot(view.units[unit]);
    if (!view.copies.empty()) FreeSlot(view.copies[unit]);
  }
  EraseEntry(entry);
}

void Store::Remove(EntryId entry) {
  const auto view = index_.View(entry);
  if (view.state == EntryState::kVisible) {
    UncountBlock(view);
    if (Recordable(view)) RecordRemoved(view.generation);
  }
  Settle(entry, index_.Doom(entry));
}

bool Store::Recordable(const index::EntryView& view) const {
  for (std::uint32_t unit = 0; unit < view.shape.units; ++unit) {
    if (DurablePlace(view, unit).IsNowhere()) return false;
  }
  return true;
}

void Store::RecordRemoved(std::uint64_t generation) {
  if (!options_.record_changes) return;
  catalog::Change change{catalog::Change::Kind::kRemove, {}};
  change.row.generation = generation;
  changes_.push_back(std::move(change));
}

void Store::RemoveKept(std::uint32_t space, Key key) {
  forgotten_.clear();
  kept_rows_.TakeKey(space, key, forgotten_);
  for (const std::uint64_t generation : forgotten_) RecordRemoved(generation);
}

// Of a row that is refused: it may be warm again with a drive that is not there.
bool Store::IsKept(const catalog::BlockRow& row) const {
  bool away = false;
  for (const layout::UnitRecord& unit : row.units) {
    if (unit.device() >= devices_.size()) return false;
    away |= !devices_[unit.device()]->serves();
  }
  return away && index_.Find(row.space, row.key) == kNoEntry && !kept_rows_.Has(row.space, row.key);
}

void Store::RecordAdded(EntryId entry) {
  const auto view = index_.View(entry);
  if (!options_.record_changes || !Recordable(view)) return;
  catalog::Change change;
  change.row = {.space = view.space,
                .key = std::string(view.key),
                .block_bytes = view.shape.block_bytes,
                .generation = view.generation,
                .ordinal = view.ordinal,
                .parent = {},
                .units = {}};
  for (std::uint32_t unit = 0; unit < view.shape.units; ++unit) {
    change.row.units.push_back(DurablePlace(view, unit));
  }
  if (view.parent != kNoEntry) change.row.parent = std::string(index_.View(view.parent).key);
  changes_.push_back(std::move(change));
}

// Units no larger than a layer, so that layer 0 of a small block need not wait for layer 3; but
// not so small that a drive would notice.
layout::BlockShape Store::ShapeIn(std::uint32_t space, std::uint64_t block_bytes) const {
  constexpr std::uint64_t kSmallestUnit = 64 * kKiB;
  const std::uint64_t layer_bytes = block_bytes / spaces_[space].spec.layers;
  const std::uint64_t unit = std::clamp<std::uint64_t>(
      layer_bytes, std::min<std::uint64_t>(kSmallestUnit, options_.unit_bytes),
      options_.unit_bytes);
  return layout::ShapeOf(block_bytes,
                         static_cast<std::uint32_t>(unit / kIoAlignment * kIoAlignment));
}

bool Store::ReserveSlots(const catalog::BlockRow& row, const layout::BlockShape& shape) {
  std::size_t reserved = 0;
  for (; reserved < row.units.size(); ++reserved) {
    const layout::UnitRecord& unit = row.units[reserved];
    if (unit.device() >= devices_.size()) break;
    DeviceSlot& slot = *devices_[unit.device()];
    if (slot.volatile_bytes || !slot.serves()) break;
    if (!slot.space->Reserve(row.space, shape.slot_bytes, unit.offset())) break;
  }
  if (reserved == row.units.size()) return true;
  for (std::size_t i = 0; i < reserved; ++i) {
    devices_[row.units[i].device()]->space->Free(row.units[i].offset());
  }
  return false;
}

EntryId Store::RestoreOne(const catalog::BlockRow& row) {
  if (row.space >= spaces_.size() || !spaces_[row.space].known || row.key.empty() ||
      row.key.size() > kMaxKeyBytes || row.block_bytes == 0 ||
      row.block_bytes > std::uint64_t{kMaxUnitsPerBlock} * options_.unit_bytes) {
    return kNoEntry;
  }
  const layout::BlockShape shape = ShapeIn(row.space, row.block_bytes);
  if (shape.units != row.units.size() || index_.Find(row.space, row.key) != kNoEntry ||
      kept_rows_.Has(row.space, row.key) || !ReserveSlots(row, shape)) {
    return kNoEntry;
  }
  const EntryId entry = ReserveEntry({.space = row.space,
                                      .tenant = spaces_[row.space].tenant,
                                      .key = row.key,
                                      .shape = shape,
                                      .generation = row.generation,
                                      .ordinal = row.ordinal,
                                      .parent = kNoEntry});
  std::copy(row.units.begin(), row.units.end(), index_.View(entry).units.begin());
  index_.Publish(entry);
  KVPOOL_CHECK(!index_.Unpin(entry));
  CountBlock(index_.View(entry));
  return entry;
}

std::uint64_t Store::Restore(std::span<const catalog::BlockRow> rows,
                             std::uint64_t highest_generation) {
  MutexLock lock(mutex_);
  std::uint64_t refused = 0;
  std::vector<EntryId> entries;
  next_generation_ = std::max(next_generation_, highest_generation + 1);
  for (const catalog::BlockRow& row : rows) {
    next_generation_ = std::max(next_generation_, row.generation + 1);
    entries.push_back(RestoreOne(row));
    if (entries.back() != kNoEntry) continue;
    ++refused;
    if (IsKept(row)) {
      kept_rows_.Keep(row);
      spaces_[row.space].kept = true;
    } else {
      RecordRemoved(row.generation);
    }
  }
  restored_generations_ = next_generation_ - 1;
  // Oldest first: parents come before children, and the newest end as the most recently used.
  for (std::size_t i = rows.size(); i-- > 0;) {
    if (entries[i] == kNoEntry) continue;
    const Key parent = rows[i].parent;
    index_.Reference(entries[i], parent.empty() ? kNoEntry : index_.Find(rows[i].space, parent));
  }
  for (std::uint32_t space = 0; space < spaces_.size(); ++space) LookWhetherIdle(space);
  return refused;
}

void Store::TakeChanges(std::vector<catalog::Change>& changes) {
  MutexLock lock(mutex_);
  changes.insert(changes.end(), std::make_move_iterator(changes_.begin()),
                 std::make_move_iterator(changes_.end()));
  changes_.clear();
  ++recordings_;
}

Store::Counts Store::counts() const {
  MutexLock lock(mutex_);
  Counts counts = counts_;
  counts.dirty_bytes = dirty_bytes_;
  return counts;
}

std::vector<std::uint64_t> Store::UsedBytes() const {
  MutexLock lock(mutex_);
  std::vector<std::uint64_t> used;
  for (const auto& slot : devices_) used.push_back(slot->space->used_bytes());
  return used;
}

Store::Audit Store::audit() const {
  MutexLock lock(mutex_);
  Audit audit;
  audit.visible_bytes.resize(devices_.size());
  audit.pinned_bytes = index_.pinned_slot_bytes();
  index_.ForEach([&](EntryId entry) {
    const auto view = index_.View(entry);
    for (const auto places : {view.units, view.copies}) {
      for (const layout::UnitRecord& unit : places) {
        if (!unit.IsNowhere()) audit.visible_bytes[unit.device()] += view.shape.slot_bytes;
      }
    }
  });
  return audit;
}

std::vector<catalog::WearRow> Store::Wear(std::int64_t now_unix_s) const {
  MutexLock lock(mutex_);
  std::vector<catalog::WearRow> rows;
  for (const auto& slot : devices_) {
    rows.push_back({.device_id = slot->drive_id,
                    .bytes_written = slot->bytes_written_before + slot->bytes_written.load(),
                    .budget_left = slot->budget.limited()
                                       ? slot->budget.Held(options_.clock->NowNs())
                                       : catalog::WearRow::kNoBudget,
                    .recorded_unix_s = now_unix_s});
  }
  return rows;
}

std::uint64_t Store::BlockBytes(Space space, Key key) const {
  MutexLock lock(mutex_);
  const EntryId entry = index_.Find(space.id, key);
  return entry == kNoEntry ? 0 : index_.View(entry).shape.block_bytes;
}

std::uint64_t Store::BlocksOf(Space space) const {
  MutexLock lock(mutex_);
  return spaces_[space.id].entries;
}

std::vector<std::string> Store::Keys(Space space) const {
  MutexLock lock(mutex_);
  std::vector<EntryId> entries;
  index_.ForEach([&](EntryId entry) { entries.push_back(entry); });
  std::vector<std::string> keys;
  for (const EntryId entry : entries) {
    const auto view = index_.View(entry);
    if (view.space == space.id) keys.emplace_back(view.key);
  }
  return keys;
}

}  // namespace kvpool::pool
