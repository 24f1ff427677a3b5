#include "pool/pool_impl.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/check.h"
#include "base/keep.h"
#include "base/limits.h"
#include "mem/region.h"
#include "pool/channel_impl.h"

namespace kvpool::pool {
namespace {

using Registry = std::shared_ptr<mem::RegisteredMemory>;

class RegionMemory final : public Memory {
 public:
  RegionMemory(std::unique_ptr<mem::Region> region, Registry registry)
      : region_(std::move(region)), registry_(std::move(registry)) {
    registry_->Add(region_->bytes());
  }
  ~RegionMemory() override { registry_->Remove(region_->bytes()); }
  std::span<std::byte> bytes() const override { return region_->bytes(); }
  std::string description() const override { return region_->description(); }
  int descriptor() const override { return region_->fd(); }

 private:
  const std::unique_ptr<mem::Region> region_;
  const Registry registry_;
};

class CallersMemory final : public Memory {
 public:
  CallersMemory(std::span<std::byte> bytes, Registry registry)
      : bytes_(bytes), registry_(std::move(registry)) {
    registry_->Add(bytes_);
  }
  ~CallersMemory() override { registry_->Remove(bytes_); }
  std::span<std::byte> bytes() const override { return bytes_; }
  std::string description() const override {
    return "the caller's own; used in place where it is aligned to 4 KiB";
  }

 private:
  const std::span<std::byte> bytes_;
  const Registry registry_;
};

}  // namespace

PoolImpl::PoolImpl(PoolParts parts)
    : config_(std::move(parts.config)),
      pool_id_(parts.pool_id),
      clock_(*parts.clock),
      threads_(parts.threads),
      staging_(std::move(parts.staging)),
      make_drive_(std::move(parts.make_drive)),
      log_(std::move(parts.log)),
      detacher_(parts.detacher != nullptr ? parts.detacher : &page_detacher_),
      gpus_(std::move(parts.gpus)) {
  for (const auto& gpu : gpus_) {
    links_.push_back(std::make_unique<GpuLink>(gpu->traits().bytes_per_s));
  }
  for (PoolParts::OpenedDevice& one : parts.devices) {
    auto slot = std::make_unique<DeviceSlot>(one.config);
    slot->device = std::move(one.device);
    const device::Traits& traits = slot->device->traits();
    slot->space.emplace(0, traits.capacity_bytes / kSlabBytes * kSlabBytes);
    slot->volatile_bytes = traits.volatile_bytes;
    slot->mapped = traits.mapped;
    slot->drive_id = one.drive_id;
    if (!one.absent.empty()) slot->health.Drain(std::move(one.absent));
    slots_.push_back(std::move(slot));
  }
}

Result<std::unique_ptr<PoolImpl>> PoolImpl::Open(PoolParts parts) {
  std::unique_ptr<catalog::Catalog> catalog = std::move(parts.catalog);
  std::unique_ptr<PoolImpl> pool(new PoolImpl(std::move(parts)));
  pool->PinForGpus();
  if (auto opened = pool->OpenStore(std::move(catalog)); !opened) {
    return tl::unexpected(opened.error());
  }
  if (auto made = pool->MakeLanes(); !made) return tl::unexpected(made.error());
  if (!pool->threads_) return pool;
  for (const auto& lane : pool->lanes_) lane->StartThread();
  pool->recorder_->StartThread();
  pool->mover_->StartThread();
  return pool;
}

PoolImpl::~PoolImpl() {
  mover_.reset();  // spills what is left
  lanes_.clear();
  recorder_.reset();  // after the last write: records what is left
  UnpinForGpus();
  KeepWhatIsHeld();
}

namespace {

// The bytes of a device that a GPU copies from where they lie; empty: there are none.
std::span<std::byte> MappedBytes(const DeviceSlot& slot) {
  if (!slot.mapped) return {};
  return {slot.device->Map(0), slot.device->traits().capacity_bytes};
}

}  // namespace

Result<std::unique_ptr<gpu::ImportedMemory>> PoolImpl::ImportGpuMemory(std::string_view gpu,
                                                                       gpu::Handle handle,
                                                                       std::uint64_t bytes) {
  for (const auto& one : gpus_) {
    if (one->traits().identity == gpu) return one->Import(std::move(handle), bytes);
  }
  return Fail(Status::kNotFound,
              fmt::format("the pool has no GPU \"{}\": name it in its pool file ([[gpu]])", gpu));
}

void PoolImpl::PinForGpus() {
  for (const auto& gpu : gpus_) {
    registered_->PinBy(gpu);
    for (const auto& slot : slots_) {
      const auto bytes = MappedBytes(*slot);
      if (bytes.empty() || gpu->Pin(bytes)) continue;
      log_({.level = LogLevel::kWarning,
            .event = "pool",
            .message = fmt::format("device {} cannot be pinned for gpu {}: copies from it take a "
                                   "detour; raise the limit on locked memory (ulimit -l), or make "
                                   "the device smaller",
                                   slot->config.name, gpu->traits().name)});
    }
  }
}

void PoolImpl::UnpinForGpus() {
  for (const auto& gpu : gpus_) {
    for (const auto& slot : slots_) {
      if (slot->device && !MappedBytes(*slot).empty()) gpu->Unpin(MappedBytes(*slot));
    }
  }
}

// A device that was left with transfers goes on using what its queues refer to.
void PoolImpl::KeepWhatIsHeld() {
  bool any = false;
  for (const auto& slot : slots_) {
    if (!slot->held_on.load()) continue;
    KeepForEver(std::move(slot->device));
    for (auto& former : slot->former) KeepForEver(std::move(former));
    any = true;
  }
  if (any) KeepForEver(registered_);
}

Result<Space> PoolImpl::OpenSpace(const SpaceSpec& spec) {
  if (spec.layers == 0 || spec.layers > kMaxLayers) {
    return Fail(Status::kInvalid,
                "a space has 1 to 1024 layers: set SpaceSpec::layers, 1 if "
                "the engine does not say");
  }
  return recorder_->OpenSpace(spec);
}

FlowId PoolImpl::FlowOf(const ChannelOptions& options) {
  constexpr std::uint64_t kOwn = std::uint64_t{1} << 63;  // numbers that nobody else gives
  return {.tenant = options.tenant,
          .tenant_weight = options.tenant_weight,
          .client = options.client != 0 ? options.client : kOwn + channels_opened_.fetch_add(1)};
}

std::vector<const mem::LentMemory*> PoolImpl::Lent(Space space) const {
  std::vector<const mem::LentMemory*> lent;
  const std::uint32_t owner = store_->Owner(space);
  for (const auto& slot : slots_) lent.push_back(slot->device->Lent(owner));
  return lent;
}

void PoolImpl::TrimLent(Space space) const {
  const std::uint32_t owner = store_->Owner(space);
  for (const auto& slot : slots_) slot->device->TrimLent(owner);
}

std::uint64_t PoolImpl::memory_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& slot : slots_) bytes += slot->mapped ? slot->config.capacity_bytes : 0;
  return bytes;
}

Result<std::unique_ptr<Channel>> PoolImpl::OpenChannel(const ChannelOptions& options,
                                                       LeaseBudget* lease_budget) {
  if (options.tenant_weight == 0 || options.tenant_weight > kMaxTenantWeight) {
    return Fail(Status::kInvalid, "a tenant's weight is 1 to 1000: set another one");
  }
  ChannelParts parts{
      .store = store_.get(),
      .recorder = recorder_.get(),
      .mover = mover_.get(),
      .gets = &gets_,
      .puts = &puts_,
      .clock = &clock_,
      .deadline_ns = std::chrono::nanoseconds(config_.deadline).count(),
      .lanes_of_device = lanes_of_device_,
      .devices = slots_.size(),
      .gpus = gpus_,
      .flow = FlowOf(options),
      .lease_budget = lease_budget,
      .own_lane = nullptr,
      .threads = threads_,
  };
  if (options.caller_driven) {
    std::vector<std::size_t> all(slots_.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
    auto lane = MakeLane(all);
    if (!lane) return tl::unexpected(lane.error());
    parts.own_lane = std::move(*lane);
  }
  return ChannelImpl::Make(std::move(parts));
}

std::size_t PoolImpl::Match(Space space, std::span<const Key> keys) const {
  return store_->Match(space, keys);
}

void PoolImpl::Contains(Space space, std::span<const Key> keys, std::span<bool> present) const {
  store_->Contains(space, keys, present);
}

Result<std::shared_ptr<Memory>> PoolImpl::Allocate(std::uint64_t bytes, int numa_node,
                                                   bool shareable) {
  auto region = mem::Region::Make({.bytes = bytes, .numa_node = numa_node, .shareable = shareable});
  if (!region) return tl::unexpected(region.error());
  auto memory = std::make_shared<RegionMemory>(std::move(*region), registered_);
  TakeInMemory();
  return memory;
}

Result<std::shared_ptr<Memory>> PoolImpl::Register(std::span<std::byte> bytes) {
  if (bytes.empty()) return Fail(Status::kInvalid, "there is nothing to register: 0 bytes");
  auto memory = std::make_shared<CallersMemory>(bytes, registered_);
  TakeInMemory();
  return memory;
}

Result<std::unique_ptr<Lane>> PoolImpl::MakeLane(std::span<const std::size_t> devices) const {
  return Lane::Make({.log = &log_,
                     .clock = &clock_,
                     .verify = config_.verify,
                     .registered = registered_.get(),
                     .detacher = detacher_,
                     .staging = staging_ ? staging_() : std::span<std::byte>{},
                     .gpus = gpus_,
                     .links = links_},
                    slots_, devices);
}

void PoolImpl::TakeInMemory() const {
  if (!threads_) return;  // the next Step does
  for (const auto& lane : lanes_) lane->TakeInMemory();
  for (const auto& lane : lanes_) lane->AwaitMemory();
}

PoolInfo PoolImpl::info() const {
  PoolInfo info;
  info.name = config_.name;
  const Store::Counts counts = store_->counts();
  info.blocks = counts.blocks;
  info.block_bytes = counts.block_bytes;
  info.evictions = counts.evictions;
  info.dirty_bytes = counts.dirty_bytes;
  info.declined = counts.declined;
  info.blocks_lost_at_open = lost_at_open_;
  info.devices = store_->Devices();
  for (const auto& gpu : gpus_) {
    const gpu::Traits& traits = gpu->traits();
    info.gpus.push_back(
        {traits.name, traits.kind, traits.identity, traits.description, gpu->failure()});
  }
  info.tenants = store_->Tenants();
  for (const auto& lane : lanes_) {
    info.lane_thread_ids.push_back(lane->thread_id());
    info.lane_spin_s.push_back(1e-9 * static_cast<double>(lane->spin_ns()));
  }
  return info;
}

bool PoolImpl::StepPart(std::size_t part) {
  KVPOOL_CHECK(!threads_);
  if (part < lanes_.size()) return lanes_[part]->Step();
  if (part > lanes_.size()) return mover_->Step();
  if (stopping_ && mover_->stopped()) recorder_->Stop();
  return recorder_->Step();
}

void PoolImpl::Stop() {
  stopping_ = true;
  mover_->Stop();
}

bool PoolImpl::Step() {
  bool moved = false;
  for (std::size_t part = 0; part < parts(); ++part) moved |= StepPart(part);
  return moved;
}

std::int64_t PoolImpl::NextStepNs() const {
  std::int64_t next_ns = recorder_->NextStepNs();
  for (const auto& lane : lanes_) next_ns = std::min(next_ns, lane->NextStepNs());
  return std::min(next_ns, mover_->NextStepNs());
}

bool PoolImpl::Idle() const {
  return recorder_->Idle() && mover_->Idle() &&
         std::all_of(lanes_.begin(), lanes_.end(), [](const auto& lane) { return lane->Idle(); });
}

Result<void> PoolImpl::MakeLanes() {
  std::vector<LaneNeed> needs;
  for (const auto& slot : slots_) {
    // Memory that is slowed waits more than it copies: it shares its lane like a drive.
    needs.push_back({slot->mapped && !slot->config.slow, slot->device->traits().needs_polling});
  }
  constexpr std::uint32_t kPretended = 8;  // no thread: whatever machine this is
  const std::uint32_t processors =
      threads_ ? std::max(1u, std::thread::hardware_concurrency()) : kPretended;
  const auto assigned = AssignLanes(needs, config_.lanes, processors);
  lanes_of_device_.resize(slots_.size());
  for (const auto& devices : assigned) {
    auto lane = MakeLane(devices);
    if (!lane) return tl::unexpected(lane.error());
    for (const std::size_t device : devices) lanes_of_device_[device].push_back(lane->get());
    lanes_.push_back(std::move(*lane));
  }
  mover_ = std::make_unique<Mover>(
      MoverParts{.store = store_.get(),
                 .recorder = recorder_.get(),
                 .slots = slots_,
                 .lanes_of_device = lanes_of_device_,
                 .clock = &clock_,
                 .deadline_ns = std::chrono::nanoseconds(config_.deadline).count()});
  return {};
}

}  // namespace kvpool::pool
