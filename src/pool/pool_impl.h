// PoolImpl: the pool of one process.
#pragma once

#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "kvpool/pool.h"
#include "pool/device_slot.h"
#include "pool/lane.h"
#include "pool/mover.h"
#include "pool/recorder.h"
#include "pool/store.h"

namespace kvpool::pool {

// Threads: any, after Open.
class PoolImpl final : public Pool {
 public:
  static Result<std::unique_ptr<PoolImpl>> Open(const Config& config, const Clock& clock);
  ~PoolImpl() override;

  Result<Space> OpenSpace(const SpaceSpec& spec) override;
  Result<std::unique_ptr<Channel>> OpenChannel(const ChannelOptions& options) override;
  std::size_t Match(Space space, std::span<const Key> keys) const override;
  void Contains(Space space, std::span<const Key> keys, std::span<bool> present) const override;
  Result<std::shared_ptr<Memory>> Allocate(std::uint64_t bytes, int numa_node) override;
  Result<std::shared_ptr<Memory>> Register(std::span<std::byte> bytes) override;
  PoolInfo info() const override;

  // Every space that was ever opened, by id; and the keys of one. For checking and inspection.
  std::vector<std::pair<Space, SpaceSpec>> Spaces() const { return store_->Spaces(); }
  std::vector<std::string> Keys(Space space) const { return store_->Keys(space); }
  std::uint64_t BlockBytes(Space space, Key key) const { return store_->BlockBytes(space, key); }

 private:
  PoolImpl(const Config& config, const Clock& clock) : config_(config), clock_(clock) {}

  Result<void> OpenDevices();
  Result<void> OpenStore();
  Result<void> StartLanes();
  LaneOptions OptionsOfLanes() const;
  void TakeInMemory() const;

  const Config config_;
  const Clock& clock_;
  Mutex spaces_mutex_;  // one OpenSpace at a time: an id is chosen, then taken
  std::uint64_t pool_id_ = 0;
  std::uint64_t lost_at_open_ = 0;
  bool spills_ = false;  // there is memory, and a catalog of drives
  // Shared with the memory that was handed out.
  const std::shared_ptr<mem::RegisteredMemory> registered_ =
      std::make_shared<mem::RegisteredMemory>();
  std::vector<std::unique_ptr<DeviceSlot>> slots_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Recorder> recorder_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<std::vector<Lane*>> lanes_of_device_;
  std::unique_ptr<Mover> mover_;  // null: nothing to spill, or nowhere to spill it to
};

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
