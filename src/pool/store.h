// Store: the pool's memory of what lies where. Index, free space and placement under one lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mutex.h"
#include "catalog/catalog.h"
#include "index/index.h"
#include "index/second_sight.h"
#include "kvpool/pool.h"
#include "layout/placer.h"
#include "pool/device_slot.h"
#include "pool/kept_rows.h"
#include "pool/move.h"
#include "pool/operation.h"
#include "pool/statistics.h"

namespace kvpool::pool {

inline constexpr std::size_t kMostIdleSpaces = 1024;  // without a block and open nowhere

struct StoreOptions {
  std::uint32_t unit_bytes = 0;
  Placement placement = Placement::kBandwidth;
  Admission admission = Admission::kAll;
  bool adapt = true;            // place by the speeds that devices show
  bool record_changes = false;  // there is a catalog to keep
  bool spill = false;           // what lies in memory is copied to drives
  const Clock* clock = &Clock::Monotonic();
  std::vector<layout::LinkRate> links;
  int near_node = -1;  // that contexts are brought to; -1: any
  std::vector<TenantConfig> tenants;
};

struct SpaceState {
  bool known = false;
  SpaceSpec spec;
  std::uint64_t digest = 0;        // of every field of the spec
  std::uint64_t next_ordinal = 0;  // for puts that know none: deals blocks in order of arrival
  std::uint16_t tenant = 0;
  bool shared = false;           // others than this process write, or wrote, its blocks
  bool kept = false;             // there were rows of it that had to be kept (KeptRows)
  std::uint64_t opened = 0;      // times, less those that it was closed
  std::uint64_t entries = 0;     // in the index, in any state
  std::uint64_t idle_since = 0;  // the recording before which it was used last
  SpaceCounts counts;
};

// Told which keys of one space can be found. Threads: one at a time.
class KeyWatcher {
 public:
  virtual ~KeyWatcher() = default;
  virtual void Appeared(Key key) = 0;  // perhaps again
  virtual void Vanished(Key key) = 0;
};

// Plans requests and settles them. No I/O: a planned operation names units and extents, lanes move
// the bytes. Threads: any.
class Store {
 public:
  Store(const StoreOptions& options, std::span<const std::unique_ptr<DeviceSlot>> devices,
        std::vector<index::EvictionGroup> groups);
  // How many groups it wants: each tenant's after that of whatever belongs to none.
  static std::size_t GroupsFor(const StoreOptions& options) { return options.tenants.size() + 1; }

  // The id of a space that has been added, or the smallest that is free.
  std::uint32_t IdFor(const SpaceSpec& spec) const;
  // Again with the same id: nothing changes.
  void AddSpace(std::uint32_t id, const SpaceSpec& spec);
  // As AddSpace, and it stays until CloseSpace, which is called as often as this was.
  void OpenSpace(std::uint32_t id, const SpaceSpec& spec);
  void CloseSpace(Space space);
  // Spaces that nobody has open and that have no block, since before the last TakeChanges: no row
  // of theirs is left once these changes are recorded. The last kMostIdleSpaces of them stay.
  std::vector<std::uint32_t> IdleSpaces();
  // They are open no more and have no block.
  void RemoveSpaces(std::span<const std::uint32_t> spaces);
  std::vector<std::pair<Space, SpaceSpec>> Spaces() const;
  bool HasSpace(Space space) const;
  std::uint32_t LayersOf(Space space) const;
  std::uint32_t Owner(Space space) const;  // to a device

  // Tells `watcher` of every key that is there, and of each that comes or goes from now on, until
  // StopSharing. Others than this process write the space's blocks, too: they can change bytes
  // while these are stored, and what does not verify there says nothing about a device. Looks at
  // the whole index where the space has blocks, some at a time, so that nobody waits for it.
  void Share(Space space, std::shared_ptr<KeyWatcher> watcher);
  // Nothing where another one watches meanwhile.
  void StopSharing(Space space, const KeyWatcher& watcher);

  std::size_t Match(Space space, std::span<const Key> keys) const;
  void Contains(Space space, std::span<const Key> keys, std::span<bool> present) const;

  // Fills the operation with what is to be moved, or settles keys at once. Pins what it names.
  void PlanGet(GetRequest& get, Operation& operation);
  void PlanPut(const PutRequest& put, Operation& operation);
  // After the last unit: publishes or frees what was put; lets go of what was read.
  // True: what failed is read again from second places; the operation is to be handed out again.
  bool FinishGet(Operation& operation);
  // From now on blocks that fail a get stay (true), or are removed, as at first.
  void KeepFailed(bool keep) { keeps_failed_.store(keep); }
  void FinishPut(Operation& operation);

  void Drop(const DropRequest& drop, Operation& operation);
  // True: its keys are durable once the recorder has caught up, or have their status. False: some
  // have units in memory that are spilled first; SettleFlush then says when.
  bool CheckFlush(const FlushRequest& flush, Operation& operation);
  // As CheckFlush: true when nothing is left to wait for.
  bool SettleFlush(Operation& operation);

  // Adds up to `bytes` of units that lie in memory only, the longest waiting first, each with a
  // slot on a drive. Pins their blocks until FinishMove. May evict to make room. False: drives have
  // no room for all that waits.
  bool PlanSpill(std::uint64_t bytes, Move& move);
  // The same of what lies on devices that leave, from where the last call stopped. True: it stopped
  // before it had looked at every block.
  bool PlanEvacuation(std::uint64_t bytes, Move& move);
  void FinishMove(Move& move);

  // Another device stands in the place of `index`, on which nothing lies and nothing is in flight.
  void Replace(std::size_t index, std::unique_ptr<device::Device> by, const DeviceConfig& config,
               std::uint64_t drive_id);
  // The leased views of a finished get, in block order.
  void FillViews(Operation& operation, GetRequest& get) const;
  void Unpin(const Operation& operation);

  // Restart: takes over recorded blocks, newest first, so that a stale row never wins a key or a
  // slot. Rows whose units are not all there, or that a newer one has replaced, are removed from
  // the record; those with units on a drive that does not serve stay there (KeptRows). Chains the
  // blocks. Returns how many rows were refused.
  // `highest_generation`: of all that was ever recorded.
  std::uint64_t Restore(std::span<const catalog::BlockRow> rows, std::uint64_t highest_generation);

  // Removes some of what lies on devices that are gone. False when nothing is left there. Short:
  // call it again and again.
  bool SweepGone();

  // Appends what has to be recorded since the last call, in order.
  void TakeChanges(std::vector<catalog::Change>& changes);

  struct Counts {
    std::uint64_t blocks = 0;
    std::uint64_t block_bytes = 0;
    std::uint64_t evictions = 0;
    std::uint64_t dirty_bytes = 0;
    std::uint64_t declined = 0;
    std::uint64_t spilled_units = 0;
    std::uint64_t spilled_bytes = 0;
  };
  Counts counts() const;
  std::vector<TenantInfo> Tenants() const;
  // The same tenants, with other quotas and weights.
  void ChangeTenants(std::span<const TenantConfig> configs);
  // What people should be told about tenants, each once.
  std::vector<std::string> TakeRemarks();
  // Fills `spaces` and `other_spaces`.
  void CountSpaces(PoolStatistics& statistics) const;
  // For tests: what the index says of space, beside UsedBytes.
  struct Audit {
    std::vector<std::uint64_t> visible_bytes;  // by device: the slots of visible blocks
    std::uint64_t pinned_bytes = 0;            // the slots of blocks with a pin
  };
  Audit audit() const;
  std::vector<std::uint64_t> UsedBytes() const;  // by device
  std::vector<double> WantedShares() const;      // by device, before limits of space
  std::vector<DeviceInfo> Devices() const;
  // Nothing lies there, but for slots that a device which does not answer may still write to.
  bool IsEmpty(std::size_t device) const;
  // Of each device, to be recorded and shown: what was ever written, what may be written yet.
  std::vector<catalog::WearRow> Wear(std::int64_t now_unix_s) const;

  // Keys of every visible block of a space, for checking and inspection.
  std::vector<std::string> Keys(Space space) const;
  std::uint64_t BlockBytes(Space space, Key key) const;  // 0 when absent
  std::uint64_t BlocksOf(Space space) const;             // with those that are being written

 private:
  void AdmitKeys(const PutRequest& put, Operation& operation) KVPOOL_REQUIRES(mutex_);
  bool Admits(const PutRequest& put, Key key) KVPOOL_REQUIRES(mutex_);
  void PlaceGroup(const PutRequest& put, Operation& operation, std::span<const std::uint32_t> keys,
                  std::uint64_t first_ordinal) KVPOOL_REQUIRES(mutex_);
  std::uint64_t MakeRoom(const layout::BlockShape& shape, std::uint32_t space, std::uint64_t units,
                         bool durable) KVPOOL_REQUIRES(mutex_);
  std::uint64_t MakeRoomInQuota(std::uint32_t space, const layout::BlockShape& shape,
                                std::uint64_t wanted, std::uint64_t possible)
      KVPOOL_REQUIRES(mutex_);
  layout::BlockShape ShapeIn(std::uint32_t space, std::uint64_t block_bytes) const
      KVPOOL_REQUIRES(mutex_);
  std::uint64_t AttainableUnits(const layout::BlockShape& shape, bool durable) const
      KVPOOL_REQUIRES(mutex_);
  bool TakeLease(const index::EntryView& view, const Operation& operation) KVPOOL_REQUIRES(mutex_);
  static void GiveLease(const layout::BlockShape& shape, const Operation& operation);
  std::uint64_t BytesNeeded(const index::EntryView& view, bool lease) const KVPOOL_REQUIRES(mutex_);
  void GiveSlots(Operation& operation, std::span<const std::uint32_t> keys,
                 std::span<const layout::DeviceIndex> dealt, std::uint32_t space)
      KVPOOL_REQUIRES(mutex_);
  Speed SpeedOf(const DeviceSlot& slot) const;
  double PlacementRate(const DeviceSlot& slot) const;
  bool IsRemote(const DeviceSlot& slot) const;
  void Rates(std::uint32_t space, std::uint32_t slot_bytes, bool durable) KVPOOL_REQUIRES(mutex_);
  std::uint64_t BudgetLeft(DeviceSlot& slot) const KVPOOL_REQUIRES(mutex_);
  std::uint64_t FreeUnits(std::uint32_t space, std::uint32_t slot_bytes, bool durable) const
      KVPOOL_REQUIRES(mutex_);
  std::uint64_t UsableUnits(std::size_t device, std::uint32_t space, std::uint32_t slot_bytes,
                            bool durable) const KVPOOL_REQUIRES(mutex_);
  index::EntryId ParentOf(const PutRequest& put, std::uint32_t key) const KVPOOL_REQUIRES(mutex_);
  struct Tenant {
    TenantInfo info;              // but for used_bytes, hits and misses, which others count
    SpaceCounts gone;             // of spaces that were removed
    std::uint64_t too_large = 0;  // a put that no eviction makes room for in its quota; 0: none yet
    bool said = false;
  };
  static std::vector<Tenant> MakeTenants(const std::vector<TenantConfig>& configs);
  std::uint16_t TenantOf(const SpaceSpec& spec) const KVPOOL_REQUIRES(mutex_);
  SpaceState& AddSpaceLocked(std::uint32_t id, const SpaceSpec& spec) KVPOOL_REQUIRES(mutex_);
  index::EntryId ReserveEntry(const index::NewEntry& entry) KVPOOL_REQUIRES(mutex_);
  void EraseEntry(index::EntryId entry) KVPOOL_REQUIRES(mutex_);
  void LookWhetherIdle(std::uint32_t space) KVPOOL_REQUIRES(mutex_);
  bool IsIdle(const SpaceState& space) const { return space.opened == 0 && space.entries == 0; }
  void CountBlock(const index::EntryView& view) KVPOOL_REQUIRES(mutex_);
  void UncountBlock(const index::EntryView& view) KVPOOL_REQUIRES(mutex_);
  bool EvictOne() KVPOOL_REQUIRES(mutex_);
  bool EvictOne(std::uint16_t tenant) KVPOOL_REQUIRES(mutex_);
  bool Evict(index::EntryId victim) KVPOOL_REQUIRES(mutex_);
  void Remove(index::EntryId entry) KVPOOL_REQUIRES(mutex_);
  void Settle(index::EntryId entry, bool may_erase) KVPOOL_REQUIRES(mutex_);
  void RecordAdded(index::EntryId entry) KVPOOL_REQUIRES(mutex_);
  void RecordRemoved(std::uint64_t generation) KVPOOL_REQUIRES(mutex_);
  void RemoveKept(std::uint32_t space, Key key) KVPOOL_REQUIRES(mutex_);
  bool IsKept(const catalog::BlockRow& row) const KVPOOL_REQUIRES(mutex_);
  bool IsVolatile(const layout::UnitRecord& unit) const {
    return devices_[unit.device()]->volatile_bytes;
  }
  // The place of a unit that survives the process, or nowhere.
  layout::UnitRecord DurablePlace(const index::EntryView& view, std::uint32_t unit) const;
  // In memory only.
  bool IsDirty(const index::EntryView& view, std::uint32_t unit) const {
    return IsVolatile(view.units[unit]) && DurablePlace(view, unit).IsNowhere();
  }
  void FreeSlot(const layout::UnitRecord& unit) KVPOOL_REQUIRES(mutex_);
  void AddDirty(index::EntryId entry) KVPOOL_REQUIRES(mutex_);
  bool MakeSecondPlaces(index::EntryId entry) KVPOOL_REQUIRES(mutex_);
  bool PlanSpillOf(index::EntryId entry, Move& move) KVPOOL_REQUIRES(mutex_);
  bool FindRoom(Move& move, std::size_t first, bool durable, bool may_evict)
      KVPOOL_REQUIRES(mutex_);
  bool MayEvictToSpill() const KVPOOL_REQUIRES(mutex_);
  layout::UnitRecord OtherPlace(const index::EntryView& view, std::uint32_t unit,
                                const layout::UnitRecord& than) const;
  void LosePlace(index::EntryId entry, std::uint32_t unit, const layout::UnitRecord& place)
      KVPOOL_REQUIRES(mutex_);
  void LoseDamaged(const MovedUnit& unit) KVPOOL_REQUIRES(mutex_);
  void FinishMoved(const MovedUnit& unit, bool spilled) KVPOOL_REQUIRES(mutex_);
  bool IsLeaving(const layout::UnitRecord& unit) const;
  void Evacuate(index::EntryId entry, Move& move) KVPOOL_REQUIRES(mutex_);
  // What becomes of a unit's place on a device that leaves.
  enum class Leaving : std::uint8_t { kDropped, kWaits, kMoves };
  Leaving DropLeaving(index::EntryId entry, std::uint32_t unit) KVPOOL_REQUIRES(mutex_);
  void FinishEvacuated(const MovedUnit& unit) KVPOOL_REQUIRES(mutex_);
  void LookAtDevices() KVPOOL_REQUIRES(mutex_);
  void BecomeDurable(index::EntryId entry) KVPOOL_REQUIRES(mutex_);
  bool ReadCopies(Operation& operation) KVPOOL_REQUIRES(mutex_);
  bool HasOtherPlaces(const Operation& operation, std::uint32_t key) const KVPOOL_REQUIRES(mutex_);
  layout::UnitRecord UseOtherPlace(index::EntryId entry, const UnitWork& work,
                                   const layout::UnitRecord& failed) KVPOOL_REQUIRES(mutex_);
  const layout::UnitRecord& ReadFrom(const index::EntryView& view, std::uint32_t unit, bool lease)
      KVPOOL_REQUIRES(mutex_);
  void StartLoads() KVPOOL_REQUIRES(mutex_);
  bool AnyDirtyBelow(std::uint64_t generation) const KVPOOL_REQUIRES(mutex_);
  bool DemoteOne() KVPOOL_REQUIRES(mutex_);
  bool Demote(index::EntryId entry) KVPOOL_REQUIRES(mutex_);
  void MakeRoomInMemory(std::uint32_t space, const layout::BlockShape& shape, std::uint64_t units)
      KVPOOL_REQUIRES(mutex_);
  std::uint64_t DirtyUnitsAllowed(std::uint32_t slot_bytes) const KVPOOL_REQUIRES(mutex_);
  bool Recordable(const index::EntryView& view) const KVPOOL_REQUIRES(mutex_);
  index::EntryId RestoreOne(const catalog::BlockRow& row) KVPOOL_REQUIRES(mutex_);
  bool ReserveSlots(const catalog::BlockRow& row, const layout::BlockShape& shape)
      KVPOOL_REQUIRES(mutex_);

  std::uint64_t GoneMask() const;
  // May new units go there, by the devices that were gone when the plan started?
  bool Takes(std::size_t device, bool durable) const KVPOOL_REQUIRES(mutex_);
  // Slots that late writes have let go of.
  void FreeReturned() KVPOOL_REQUIRES(mutex_);
  index::EntryId FindUsable(std::uint32_t space, Key key) KVPOOL_REQUIRES(mutex_);
  // Takes what lies on devices that are gone out of a block that is visible. False: something was
  // only there, and the block is removed.
  bool Rescue(index::EntryId entry) KVPOOL_REQUIRES(mutex_);
  void RecordAgain(index::EntryId entry, bool was_recorded) KVPOOL_REQUIRES(mutex_);
  static bool IsLost(const index::EntryView& view, std::uint64_t gone);

  // Called under the lock, by the index.
  struct KeyWatchers final : index::IndexWatcher {
    void Appeared(std::uint32_t space, Key key) override;
    void Vanished(std::uint32_t space, Key key) override;
    KeyWatcher* Of(std::uint32_t space) const {
      return space < by_space.size() ? by_space[space].get() : nullptr;
    }
    std::vector<std::shared_ptr<KeyWatcher>> by_space;
  };

  const StoreOptions options_;
  std::atomic<bool> keeps_failed_{false};
  KeyWatchers watchers_;  // before the index
  const std::span<const std::unique_ptr<DeviceSlot>> devices_;

  mutable Mutex mutex_;
  std::vector<SpaceState> spaces_ KVPOOL_GUARDED_BY(mutex_);
  // Spaces by the time they became idle; those that are so no more, or anew, are passed over.
  struct Idle {
    std::uint32_t space;
    std::uint64_t since;
  };
  std::deque<Idle> idle_ KVPOOL_GUARDED_BY(mutex_);
  std::uint64_t recordings_ KVPOOL_GUARDED_BY(mutex_) = 0;  // calls of TakeChanges
  index::Index index_ KVPOOL_GUARDED_BY(mutex_);
  index::SecondSight second_sight_ KVPOOL_GUARDED_BY(mutex_){kMaxRememberedKeys};
  layout::Placer placer_ KVPOOL_GUARDED_BY(mutex_);
  std::uint64_t next_generation_ KVPOOL_GUARDED_BY(mutex_) = 1;
  std::vector<catalog::Change> changes_ KVPOOL_GUARDED_BY(mutex_);
  KeptRows kept_rows_ KVPOOL_GUARDED_BY(mutex_);
  // Blocks by the time they came to be so; entries that have gone, or changed, are passed over.
  struct Waiting {
    index::EntryId entry;
    std::uint64_t generation;
    std::int64_t since_ns;
  };
  std::vector<Waiting> found_ KVPOOL_GUARDED_BY(mutex_);     // by an evacuation's look
  std::deque<Waiting> dirty_ KVPOOL_GUARDED_BY(mutex_);      // with units in memory only
  std::deque<Waiting> clean_ KVPOOL_GUARDED_BY(mutex_);      // with units in memory and on a drive
  std::vector<Waiting> moving_ KVPOOL_GUARDED_BY(mutex_);    // dirty, and on their way
  std::uint64_t dirty_bytes_ KVPOOL_GUARDED_BY(mutex_) = 0;  // slots in memory without a copy
  Counts counts_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<Tenant> tenants_ KVPOOL_GUARDED_BY(mutex_);             // by number
  std::uint64_t restored_generations_ KVPOOL_GUARDED_BY(mutex_) = 0;  // those up to it
  // Bit i: device i is gone: drained or removed, nobody asks it for anything. Taken at the start of
  // each plan, so that it stays the same in it.
  std::uint64_t gone_ KVPOOL_GUARDED_BY(mutex_) = 0;
  std::uint64_t closed_ KVPOOL_GUARDED_BY(mutex_) = 0;  // and those where nothing may be placed
  index::EntryId evacuated_to_ KVPOOL_GUARDED_BY(mutex_) = 0;
  std::uint64_t sweeping_ KVPOOL_GUARDED_BY(mutex_) = 0;  // the devices of the present sweep
  index::EntryId swept_to_ KVPOOL_GUARDED_BY(mutex_) = 0;
  // Scratch of planning; kept so that requests do not allocate.
  std::vector<index::EntryView> views_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<std::uint64_t> slots_needed_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<std::size_t> slots_given_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<layout::DeviceRate> rates_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<layout::DeviceIndex> dealt_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<std::vector<std::uint64_t>> offsets_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<std::uint32_t> group_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<index::EntryId> lost_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<std::uint64_t> returned_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<std::uint64_t> forgotten_ KVPOOL_GUARDED_BY(mutex_);
  struct Load {
    double busy_until_ns = 0;  // with what it was given to read
    double ns_per_byte = 0;
  };
  std::vector<Load> loads_ KVPOOL_GUARDED_BY(mutex_);  // by device
};

// Digest over every field of a spec.
std::uint64_t SpaceDigest(const SpaceSpec& spec);

}  // namespace kvpool::pool
