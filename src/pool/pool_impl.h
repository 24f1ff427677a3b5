// PoolImpl: the pool of one process.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "gpu/stager.h"
#include "kvpool/pool.h"
#include "pool/device_change.h"
#include "pool/device_slot.h"
#include "pool/lane.h"
#include "pool/mover.h"
#include "pool/recorder.h"
#include "pool/request_log.h"
#include "pool/statistics.h"
#include "pool/store.h"

namespace kvpool::pool {

// Whether other processes may map what lies in memory, a space at a time, as a daemon's clients do.
enum class Lending : bool { kNone, kToClients };

// What a pool is made of: opened from a configuration, or brought by a simulator.
struct PoolParts {
  struct OpenedDevice {
    DeviceConfig config;
    std::unique_ptr<device::Device> device;
    std::string absent = {};     // why it is not there, and `device` only stands in; empty: it is
    std::uint64_t drive_id = 0;  // in its label; 0: none, and its wear is not recorded
  };

  Config config;                      // neither its devices nor its catalog are looked at
  std::vector<OpenedDevice> devices;  // by position in the labels
  std::vector<std::shared_ptr<gpu::Stager>> gpus;
  std::unique_ptr<catalog::Catalog> catalog;  // null: nothing survives a restart
  std::uint64_t pool_id = 0;                  // of the labels of drives that come later
  const Clock* clock = nullptr;               // outlives the pool

  // Takes memory from under transfers that devices do not let go of. Outlives the pool; null: the
  // kernel's means.
  mem::Detacher* detacher = nullptr;

  // Off: there is no thread. Nothing moves but by Step, channels must have all of their requests
  // back and the pool be idle when they close, and the pool records nothing more when it goes: Stop
  // it before, or take its end for a crash.
  bool threads = true;
  // The staging of one more lane, at least an I/O of any device; outlives the pool. Empty: lanes
  // make their own.
  std::function<std::span<std::byte>()> staging;
  // Labels and opens the drive that takes another's place. Empty: what its configuration names.
  MakeDrive make_drive;
  // What people should know while the pool runs and when it closes.
  Log log = LogOnStderr;
};

// Threads: any, after Open. Without threads: one.
class PoolImpl final : public Pool {
 public:
  static Result<std::unique_ptr<PoolImpl>> Open(const Config& config, const Clock& clock,
                                                Log log = LogOnStderr,
                                                Lending lending = Lending::kNone);
  static Result<std::unique_ptr<PoolImpl>> Open(PoolParts parts);
  ~PoolImpl() override;

  Result<Space> OpenSpace(const SpaceSpec& spec) override;
  Result<std::unique_ptr<Channel>> OpenChannel(const ChannelOptions& options) override {
    return OpenChannel(options, nullptr);
  }
  // Its leases are for another process, up to a budget that outlives it: blocks whose units in
  // memory that can map (Lent), others are copied.
  Result<std::unique_ptr<Channel>> OpenChannel(const ChannelOptions& options,
                                               LeaseBudget* lease_budget);
  std::size_t Match(Space space, std::span<const Key> keys) const override;
  void Contains(Space space, std::span<const Key> keys, std::span<bool> present) const override;
  Result<std::shared_ptr<Memory>> Allocate(std::uint64_t bytes, int numa_node,
                                           bool shareable) override;
  Result<std::shared_ptr<Memory>> Register(std::span<std::byte> bytes) override;
  Result<void> RemoveDevice(std::string_view name) override;
  Result<void> ReplaceDevice(std::string_view name, const DeviceConfig& by) override;
  PoolInfo info() const override;
  // Counts of different moments: no two need agree to the last transfer.
  PoolStatistics statistics() const;

  // What RemoveDevice and ReplaceDevice do, without waiting: the caller steps. One at a time.
  Result<std::unique_ptr<DeviceRemoval>> BeginRemoval(std::string_view name);
  Result<std::unique_ptr<DeviceReplacement>> BeginReplacement(std::string_view name,
                                                              const DeviceConfig& by);

  // As often as it was opened. Where it has no block it may then be forgotten.
  void CloseSpace(Space space) { store_->CloseSpace(space); }
  // Every space that is known, by id; and the keys of one. For checking and inspection.
  std::vector<std::pair<Space, SpaceSpec>> Spaces() const { return store_->Spaces(); }
  std::vector<std::string> Keys(Space space) const { return store_->Keys(space); }
  std::uint64_t BlockBytes(Space space, Key key) const { return store_->BlockBytes(space, key); }
  std::uint64_t BlocksOf(Space space) const { return store_->BlocksOf(space); }
  void ShareSpace(Space space, std::shared_ptr<KeyWatcher> watcher) {
    store_->Share(space, std::move(watcher));
  }
  void StopSharing(Space space, const KeyWatcher& watcher) { store_->StopSharing(space, watcher); }
  // The memory that holds this space's blocks alone, by device; null on devices without. Nothing
  // else that the pool has is in there.
  std::vector<const mem::LentMemory*> Lent(Space space) const;
  // Gives back pages that others made in it by reading where nothing is.
  void TrimLent(Space space) const;
  // Another process' memory on the GPU of that identity, until its last owner lets go, before the
  // pool goes. kNotFound: the pool has no such GPU; what Stager::Import says.
  Result<std::unique_ptr<gpu::ImportedMemory>> ImportGpuMemory(std::string_view gpu,
                                                               gpu::Handle handle,
                                                               std::uint64_t bytes);
  std::uint64_t memory_bytes() const;  // of all devices that are memory
  std::span<const TenantConfig> tenants() const { return config_.tenants; }
  // Quotas and weights of the same tenants from now on; a tenant above its quota loses blocks with
  // its next puts.
  void ChangeTenants(std::span<const TenantConfig> tenants) { store_->ChangeTenants(tenants); }
  std::vector<TenantInfo> tenant_info() const { return store_->Tenants(); }
  void KeepFailedBlocks(bool keep) { store_->KeepFailed(keep); }
  Store::Audit audit() const { return store_->audit(); }

  // --- without threads: the owner moves the lanes, the recorder and the mover ---
  // One round of one part, or of all. True when anything moved.
  std::size_t parts() const { return lanes_.size() + 2; }
  bool StepPart(std::size_t part);
  bool Step();
  // When Step should run again without an event; device::Queue::kNever if only after one.
  std::int64_t NextStepNs() const;
  // No lane knows a request any more, and nothing is being moved or waits to be recorded.
  bool Idle() const;
  // Spills and records what is left, in Steps, then no more.
  void Stop();
  bool stopped() const { return recorder_->stopped(); }

 private:
  explicit PoolImpl(PoolParts parts);

  Result<void> OpenStore(std::unique_ptr<catalog::Catalog> catalog);
  Result<void> RestoreWear(catalog::Catalog& catalog);
  Result<void> MakeLanes();
  Result<std::unique_ptr<Lane>> MakeLane(std::span<const std::size_t> devices) const;
  void TakeInMemory() const;
  Result<std::size_t> FindDevice(std::string_view name) const;
  Result<void> CheckRemovable(std::size_t device) const;
  ChangeParts PartsToChange(std::size_t device) const;
  Result<std::unique_ptr<device::Device>> LabelDrive(std::size_t device, const DeviceConfig& by,
                                                     std::uint64_t drive_id) const;
  void PinForGpus();
  void UnpinForGpus();
  void KeepWhatIsHeld();
  FlowId FlowOf(const ChannelOptions& options);

  const Config config_;
  const std::uint64_t pool_id_;
  const Clock& clock_;
  const bool threads_;
  const std::function<std::span<std::byte>()> staging_;
  const MakeDrive make_drive_;
  const Log log_;
  Mutex devices_mutex_;  // one device is removed or replaced at a time
  std::uint64_t lost_at_open_ = 0;
  bool stopping_ = false;  // of a pool without threads
  std::atomic<std::uint64_t> channels_opened_{0};
  // Shared with the memory that was handed out.
  const std::shared_ptr<mem::RegisteredMemory> registered_ =
      std::make_shared<mem::RegisteredMemory>();
  mem::PageDetacher page_detacher_{*registered_};
  mem::Detacher* const detacher_;
  const std::vector<std::shared_ptr<gpu::Stager>> gpus_;
  std::vector<std::unique_ptr<GpuLink>> links_;  // theirs
  std::vector<std::unique_ptr<DeviceSlot>> slots_;
  RequestLog gets_;
  RequestLog puts_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Recorder> recorder_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<std::vector<Lane*>> lanes_of_device_;
  std::unique_ptr<Mover> mover_;
};

// As Pool::Open of a configuration without a socket.
Result<std::unique_ptr<PoolImpl>> OpenOwn(const Config& config, Log log = LogOnStderr,
                                          Lending lending = Lending::kNone);

struct LaneNeed {
  bool mapped = false;  // the processor copies its bytes
  bool polled = false;  // its lane spins while work is in flight
};
// How many lanes there are and which devices each serves: memory is copied by the processor and
// gets several, drives are shared out over others, and polled drives have few of their own. Pure.
std::vector<std::vector<std::size_t>> AssignLanes(std::span<const LaneNeed> devices,
                                                  std::uint32_t wanted_lanes,
                                                  std::uint32_t processors);

}  // namespace kvpool::pool
