// The planning half of Store: from a request to units on devices.
#include <algorithm>

#include "base/check.h"
#include "base/checksum.h"
#include "base/limits.h"
#include "pool/segments.h"
#include "pool/store.h"

namespace kvpool::pool {

using index::EntryId;
using index::EntryState;
using index::kNoEntry;

void Store::PlanGet(GetRequest& get, Operation& operation) {
  auto& block_bytes = RequestAccess::BlockBytes(get);
  block_bytes.assign(get.keys.size(), 0);
  MutexLock lock(mutex_);
  LookAtDevices();
  const bool shared = spaces_[get.space.id].shared;
  std::uint32_t most_units = 0;
  for (std::uint32_t key = 0; key < get.keys.size(); ++key) {
    const EntryId entry = FindUsable(get.space.id, get.keys[key]);
    if (entry == kNoEntry || index_.View(entry).state != EntryState::kVisible) {
      operation.SetKeyStatus(key, Status::kNotFound);
      continue;
    }
    index_.Reference(entry);
    const auto view = index_.View(entry);
    const bool copied = get.lease && !TakeLease(view, operation);
    if (TotalBytes(operation.SegmentsOfKey(key)) < BytesNeeded(view, get.lease && !copied)) {
      if (get.lease && !copied) GiveLease(view.shape, operation);
      operation.SetKeyStatus(key, Status::kInvalid);
      continue;
    }
    index_.Pin(entry);
    operation.keys[key] = {
        .entry = entry,
        .seed = ChecksumSeed(spaces_[get.space.id].digest, get.keys[key], view.generation),
        .shape = view.shape,
        .owner = OwnerOf(get.space.id, view.tenant),
        .copied = copied,
        .recent = view.generation > restored_generations_ && !shared};
    block_bytes[key] = view.shape.block_bytes;
    most_units = std::max(most_units, view.shape.units);
  }
  // Layer by layer over all keys: the order in which an engine needs the bytes, and the order in
  // which a put of the same keys laid them down.
  views_.assign(get.keys.size(), {});
  for (std::uint32_t key = 0; key < get.keys.size(); ++key) {
    if (operation.keys[key].entry != kNoEntry) {
      views_[key] = index_.View(operation.keys[key].entry);
    }
  }
  StartLoads();
  for (std::uint32_t unit = 0; unit < most_units; ++unit) {
    for (std::uint32_t key = 0; key < get.keys.size(); ++key) {
      if (unit >= views_[key].units.size()) continue;
      const bool lent = get.lease && !operation.keys[key].copied;
      const layout::UnitRecord& record = ReadFrom(views_[key], unit, lent);
      operation.units[record.device()].push_back({.offset = record.offset(),
                                                  .checksum = record.checksum(),
                                                  .bytes = operation.keys[key].shape.BytesOf(unit),
                                                  .key = key,
                                                  .unit = unit});
    }
  }
}

// As Index::Find, and what lies on devices that are gone only goes when it is seen.
EntryId Store::FindUsable(std::uint32_t space, Key key) {
  const EntryId entry = index_.Find(space, key);
  if (entry == kNoEntry || gone_ == 0) return entry;
  const bool lost = index_.View(entry).state == EntryState::kVisible && !Rescue(entry);
  return lost ? kNoEntry : entry;
}

void Store::PlanPut(const PutRequest& put, Operation& operation) {
  MutexLock lock(mutex_);
  FreeReturned();
  LookAtDevices();
  AdmitKeys(put, operation);
  std::uint64_t first_ordinal = put.ordinal.value_or(0);
  if (!put.ordinal) {
    first_ordinal = spaces_[put.space.id].next_ordinal;
    spaces_[put.space.id].next_ordinal += put.keys.size();
  }
  // Consecutive new keys of one shape are placed together.
  for (std::uint32_t begin = 0; begin < put.keys.size();) {
    group_.clear();
    std::uint32_t end = begin;
    for (; end < put.keys.size(); ++end) {
      const KeyWork& key = operation.keys[end];
      if (key.shape.units == 0) {
        if (group_.empty()) continue;
        break;
      }
      if (!group_.empty() && key.shape != operation.keys[group_.front()].shape) break;
      group_.push_back(end);
    }
    if (!group_.empty()) {
      PlaceGroup(put, operation, group_, first_ordinal + group_.front());
    }
    begin = end;
  }
}

// Settles keys that are there already or are too large, and gives the others a shape.
void Store::AdmitKeys(const PutRequest& put, Operation& operation) {
  for (std::uint32_t key = 0; key < put.keys.size(); ++key) {
    const std::uint64_t bytes = TotalBytes(operation.SegmentsOfKey(key));
    const layout::BlockShape shape =
        bytes == 0 || bytes > std::uint64_t{kMaxUnitsPerBlock} * options_.unit_bytes
            ? layout::BlockShape{}
            : ShapeIn(put.space.id, bytes);
    const Key name = put.keys[key];
    if (shape.units == 0 || shape.units > kMaxUnitsPerBlock || name.empty() ||
        name.size() > kMaxKeyBytes) {
      operation.SetKeyStatus(key, Status::kInvalid);
      continue;
    }
    if (put.durable && !options_.record_changes) {
      operation.SetKeyStatus(key, Status::kUnsupported);
      continue;
    }
    const EntryId present = FindUsable(put.space.id, name);
    if (present != kNoEntry) {
      if (index_.View(present).state == EntryState::kVisible) {
        index_.Reference(present, ParentOf(put, key));
      }
      operation.SetKeyStatus(key, Status::kExists);
      continue;
    }
    if (!Admits(put, name)) {
      operation.SetKeyStatus(key, Status::kDeclined);
      counts_.declined += 1;
      spaces_[put.space.id].counts.declined += 1;
      continue;
    }
    operation.keys[key].shape = shape;
  }
}

// Only puts count as a sight: the match or get that goes before the first put of a block says no
// more than the put does.
bool Store::Admits(const PutRequest& put, Key key) {
  if (options_.admission == Admission::kAll) return true;
  return second_sight_.Admit(Digest(key, put.space.id)) || put.durable;
}

// The preceding block of the context, where the put knows it and it is present.
EntryId Store::ParentOf(const PutRequest& put, std::uint32_t key) const {
  if (!put.ordinal) return kNoEntry;
  const Key parent = key == 0 ? put.parent : put.keys[key - 1];
  return parent.empty() ? kNoEntry : index_.Find(put.space.id, parent);
}

void Store::PlaceGroup(const PutRequest& put, Operation& operation,
                       std::span<const std::uint32_t> keys, std::uint64_t first_ordinal) {
  const layout::BlockShape shape = operation.keys[keys.front()].shape;
  const std::uint64_t possible =
      std::min<std::uint64_t>(keys.size(), AttainableUnits(shape, put.durable) / shape.units);
  const std::uint64_t allowed = MakeRoomInQuota(put.space.id, shape, keys.size(), possible);
  const std::uint64_t free = MakeRoom(shape, put.space.id, allowed * shape.units, put.durable);
  const std::size_t fitting = std::min<std::uint64_t>(allowed, free / shape.units);
  for (const std::uint32_t key : keys.subspan(fitting)) {
    operation.SetKeyStatus(key, Status::kNoSpace);
    operation.keys[key].shape = {};
  }
  if (fitting == 0) return;
  if (!put.durable) MakeRoomInMemory(put.space.id, shape, fitting * shape.units);
  keys = keys.first(fitting);
  for (const std::uint32_t key : keys) {
    const EntryId duplicate = index_.Find(put.space.id, put.keys[key]);
    if (duplicate != kNoEntry) {  // named twice in one request
      operation.SetKeyStatus(key, Status::kExists);
      continue;
    }
    operation.keys[key].entry = ReserveEntry({.space = put.space.id,
                                              .tenant = spaces_[put.space.id].tenant,
                                              .key = put.keys[key],
                                              .shape = shape,
                                              .generation = next_generation_,
                                              .ordinal = put.ordinal ? *put.ordinal + key : 0,
                                              .parent = ParentOf(put, key)});
    operation.keys[key].owner = OwnerOf(put.space.id, spaces_[put.space.id].tenant);
    operation.keys[key].seed =
        ChecksumSeed(spaces_[put.space.id].digest, put.keys[key], next_generation_);
    ++next_generation_;
  }
  Rates(put.space.id, shape.slot_bytes, put.durable);
  dealt_.resize(keys.size() * shape.units);
  const bool placed =
      placer_.Place({.devices = rates_,
                     .links = options_.links,
                     .first_ordinal = first_ordinal,
                     .blocks = static_cast<std::uint32_t>(keys.size()),
                     .units_per_block = shape.units,
                     .slices = std::min(spaces_[put.space.id].spec.layers, shape.units)},
                    dealt_);
  KVPOOL_CHECK(placed);
  GiveSlots(operation, keys, dealt_, put.space.id);
}

// Evicts until `units` slots are free, or nothing more can go. Returns the slots that are free.
std::uint64_t Store::MakeRoom(const layout::BlockShape& shape, std::uint32_t space,
                              std::uint64_t units, bool durable) {
  std::uint64_t free = FreeUnits(space, shape.slot_bytes, durable);
  while (free < units && EvictOne()) free = FreeUnits(space, shape.slot_bytes, durable);
  return free;
}

// What devices without anything that can go would hold, at most: asking for more must not evict.
std::uint64_t Store::AttainableUnits(const layout::BlockShape& shape, bool durable) const {
  std::uint64_t units = 0;
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    if (!Takes(i, durable)) continue;
    const std::uint64_t room =
        devices_[i]->space->capacity_bytes() / kSlabBytes * (kSlabBytes / shape.slot_bytes);
    units += std::min(room, BudgetLeft(*devices_[i]) / shape.slot_bytes);
  }
  // Which devices the pinned blocks lie on is not known: for a durable put they may be others.
  const std::uint64_t pinned = durable ? 0 : index_.pinned_slot_bytes() / shape.slot_bytes;
  return units - std::min(units, pinned);
}

std::uint64_t Store::FreeUnits(std::uint32_t space, std::uint32_t slot_bytes, bool durable) const {
  std::uint64_t free = 0;
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    free += UsableUnits(i, space, slot_bytes, durable);
  }
  return free;
}

// A drive whose write budget is spent counts as full.
std::uint64_t Store::BudgetLeft(DeviceSlot& slot) const {
  return slot.budget.Left(options_.clock->NowNs());
}

std::uint64_t Store::UsableUnits(std::size_t device, std::uint32_t space, std::uint32_t slot_bytes,
                                 bool durable) const {
  if (!Takes(device, durable)) return 0;
  DeviceSlot& slot = *devices_[device];
  const std::uint64_t free = slot.space->FreeSlots(space, slot_bytes);
  const std::uint64_t allowed =
      slot.volatile_bytes ? DirtyUnitsAllowed(slot_bytes) : BudgetLeft(slot) / slot_bytes;
  return std::min(free, allowed);
}

Speed Store::SpeedOf(const DeviceSlot& slot) const {
  if (options_.adapt) return slot.speed->in_use();
  return slot.ConfiguredSpeed();
}

double Store::PlacementRate(const DeviceSlot& slot) const {
  return options_.placement == Placement::kEqual ? 1 : SpeedOf(slot).read_bytes_per_s;
}

// It hangs on another node than the GPU: the way between the two is spared where it can be.
bool Store::IsRemote(const DeviceSlot& slot) const {
  const int node = slot.device->traits().numa_node;
  return options_.near_node >= 0 && node >= 0 && node != options_.near_node;
}

void Store::Rates(std::uint32_t space, std::uint32_t slot_bytes, bool durable) {
  rates_.clear();
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    const DeviceSlot& slot = *devices_[i];
    rates_.push_back({.read_bytes_per_s = PlacementRate(slot),
                      .free_units = UsableUnits(i, space, slot_bytes, durable),
                      .scarce = slot.volatile_bytes,
                      .remote = IsRemote(slot),
                      .closed = !Takes(i, durable)});
  }
}

// Turns the deal into slots, in the order of retrieval, so that units which are read one after
// the other lie one after the other.
void Store::GiveSlots(Operation& operation, std::span<const std::uint32_t> keys,
                      std::span<const layout::DeviceIndex> dealt, std::uint32_t space) {
  const layout::BlockShape shape = operation.keys[keys.front()].shape;
  slots_needed_.assign(devices_.size(), 0);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (operation.keys[keys[i]].entry == kNoEntry) continue;
    for (std::uint32_t unit = 0; unit < shape.units; ++unit) {
      ++slots_needed_[dealt[i * shape.units + unit]];
    }
  }
  for (std::size_t device = 0; device < devices_.size(); ++device) {
    offsets_[device].clear();
    if (slots_needed_[device] == 0) continue;
    KVPOOL_CHECK(devices_[device]->space->Allocate(space, shape.slot_bytes, slots_needed_[device],
                                                   offsets_[device]));
    devices_[device]->budget.Spend(slots_needed_[device] * shape.slot_bytes);
  }
  slots_given_.assign(devices_.size(), 0);
  for (std::uint32_t unit = 0; unit < shape.units; ++unit) {
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const KeyWork& key = operation.keys[keys[i]];
      if (key.entry == kNoEntry) continue;
      const layout::DeviceIndex device = dealt[i * shape.units + unit];
      const std::uint64_t offset = offsets_[device][slots_given_[device]++];
      index_.View(key.entry).units[unit] = {device, offset, 0};
      if (devices_[device]->volatile_bytes) dirty_bytes_ += shape.slot_bytes;
      operation.units[device].push_back({.offset = offset,
                                         .checksum = 0,
                                         .bytes = shape.BytesOf(unit),
                                         .key = keys[i],
                                         .unit = unit});
    }
  }
}

bool Store::FinishGet(Operation& operation) {
  MutexLock lock(mutex_);
  // The bytes here are as good as before where only the GPU failed.
  const bool gpu_failed = operation.gpu_failed.load(std::memory_order_relaxed);
  if (!operation.started_again() && !gpu_failed && ReadCopies(operation)) return true;
  SpaceCounts& counts = spaces_[operation.request->space.id].counts;
  // A unit that failed makes its block absent: the engine recomputes it and puts it again.
  for (std::size_t i = 0; i < operation.keys.size(); ++i) {
    KeyWork& key = operation.keys[i];
    const Status status = operation.KeyStatus(i);
    if (status == Status::kOk) {
      counts.hits += 1;
      counts.hit_bytes += key.shape.block_bytes;
    } else if (status != Status::kInvalid) {
      counts.misses += 1;
    }
    if (key.entry == kNoEntry) continue;
    if (status == Status::kCorrupt || (status == Status::kIoError && !gpu_failed)) {
      operation.SetKeyStatus(i, Status::kNotFound);
      const bool visible = index_.View(key.entry).state == EntryState::kVisible;
      if (visible && !keeps_failed_.load()) Remove(key.entry);
    }
    const bool lent = operation.lease && !key.copied;
    if (lent && status == Status::kOk) continue;  // until Release
    if (lent) GiveLease(key.shape, operation);
    Settle(key.entry, index_.Unpin(key.entry));
    key.entry = kNoEntry;
  }
  return false;
}

void Store::FinishPut(Operation& operation) {
  MutexLock lock(mutex_);
  const std::uint64_t gone = GoneMask();
  for (const auto& device_units : operation.units) {
    for (const UnitWork& work : device_units) {
      index_.View(operation.keys[work.key].entry).units[work.unit].set_checksum(work.checksum);
    }
  }
  for (std::size_t i = 0; i < operation.keys.size(); ++i) {
    const KeyWork& key = operation.keys[i];
    if (key.entry == kNoEntry) continue;
    if (operation.KeyStatus(i) == Status::kOk && IsLost(index_.View(key.entry), gone)) {
      operation.SetKeyStatus(i, Status::kIoError);
    }
    if (operation.KeyStatus(i) == Status::kOk) {
      index_.Publish(key.entry);
      const auto view = index_.View(key.entry);
      RemoveKept(view.space, view.key);
      CountBlock(view);
      spaces_[view.space].counts.stored += 1;
      spaces_[view.space].counts.stored_bytes += key.shape.block_bytes;
      if (Recordable(index_.View(key.entry))) {
        RecordAdded(key.entry);
      } else {
        AddDirty(key.entry);
      }
    } else {
      Remove(key.entry);
    }
    Settle(key.entry, index_.Unpin(key.entry));
  }
}

std::vector<double> Store::WantedShares() const {
  MutexLock lock(mutex_);
  std::vector<layout::DeviceRate> rates;
  for (const auto& slot : devices_) {
    const bool takes = slot->health.takes() && BudgetLeft(*slot) > 0;
    rates.push_back({.read_bytes_per_s = PlacementRate(*slot),
                     .free_units = takes ? ~std::uint64_t{0} >> 8 : 0,
                     .scarce = slot->volatile_bytes,
                     .remote = IsRemote(*slot),
                     .closed = !takes});
  }
  return layout::OptimalShares(1.0, rates, options_.links);
}

}  // namespace kvpool::pool
