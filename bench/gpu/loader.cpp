#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/clock.h"
#include "base/limits.h"
#include "bench/compare/scratch.h"
#include "bench/gpu/loader.h"
#include "device/open.h"
#include "kvpool/pool.h"
#include "layout/shares.h"

namespace kvpool::bench {
namespace {

constexpr std::chrono::microseconds kLook{200};

// Room for each device's share and a little more, so that free space never decides.
Config ConfigOf(const LoaderParts& parts) {
  const Setting& setting = parts.setting;
  std::vector<layout::DeviceRate> rates;
  for (const DeviceSpeed& device : setting.devices) {
    rates.push_back({.read_bytes_per_s = device.read_bytes_per_s,
                     .free_units = ~std::uint64_t{0} >> 8,
                     .scarce = device.kind == DeviceKind::kMemory});
  }
  const layout::LinkRate link{parts.gpu.bytes_per_s, ~std::uint64_t{0} >> (64 - rates.size())};
  const auto shares = layout::OptimalShares(1.0, rates, {&link, 1});
  Config config;
  config.name = "gpu-ttft";
  config.unit_bytes = setting.unit_bytes;
  config.verify = setting.verify;
  config.deadline = std::chrono::hours(1);
  config.create_if_missing = true;
  config.gpus = {parts.gpu};
  const auto context = static_cast<double>(setting.context_bytes());
  for (std::size_t d = 0; d < setting.devices.size(); ++d) {
    const DeviceSpeed& speed = setting.devices[d];
    DeviceConfig device;
    device.name = fmt::format("{}{}", speed.kind == DeviceKind::kMemory ? "memory" : "file", d);
    device.kind = speed.kind;
    device.numa_node = speed.numa_node;
    if (device.kind == DeviceKind::kFile) device.path = setting.folder / device.name;
    const double slabs = std::ceil((shares[d] * context * 1.05 + 16.0 * kMiB) / kSlabBytes);
    device.capacity_bytes = static_cast<std::uint64_t>(slabs) * kSlabBytes;
    device.read_bytes_per_s = speed.read_bytes_per_s;
    device.write_bytes_per_s = speed.write_bytes_per_s;
    device.accept_buffered = device.kind == DeviceKind::kFile && setting.accept_buffered;
    if (speed.emulated) device.slow = SlowConfig{.bytes_per_s = speed.read_bytes_per_s};
    config.devices.push_back(device);
  }
  return config;
}

class PoolLoader final : public Loader {
 public:
  explicit PoolLoader(const LoaderParts& parts)
      : setting_(parts.setting), config_(ConfigOf(parts)), destination_(*parts.destination) {}
  ~PoolLoader() override {
    channel_.reset();
    pool_.reset();
    for (const DeviceConfig& device : config_.devices) (void)device::RemoveDevice(device);
  }

  Result<void> Open();
  Result<void> Store(const Content& content) override;
  Result<Load> Bring(std::uint64_t blocks, double layer_s) override;

 private:
  template <class AnyRequest>
  Result<void> Check(const AnyRequest& request) const;

  const Setting setting_;
  const Config config_;
  Destination& destination_;
  std::unique_ptr<Pool> pool_;
  std::unique_ptr<Channel> channel_;
  Space space_;
  std::vector<std::string> names_;
  std::vector<Key> keys_;
};

Result<void> PoolLoader::Open() {
  auto pool = Pool::Open(config_);
  if (!pool) return tl::unexpected(pool.error());
  pool_ = std::move(*pool);
  auto space = pool_->OpenSpace({.model = "gpu-ttft", .layers = setting_.layers});
  if (!space) return tl::unexpected(space.error());
  space_ = *space;
  auto channel = pool_->OpenChannel();
  if (!channel) return tl::unexpected(channel.error());
  channel_ = std::move(*channel);
  for (std::uint64_t b = 0; b < setting_.blocks; ++b) names_.push_back(fmt::format("{:032x}", b));
  keys_.assign(names_.begin(), names_.end());
  return {};
}

template <class AnyRequest>
Result<void> PoolLoader::Check(const AnyRequest& request) const {
  for (std::size_t i = 0; i < request.keys.size(); ++i) {
    if (request.result(i) == Status::kOk) continue;
    const std::string why = pool_->info().gpus.front().failure;
    return Fail(request.result(i), fmt::format("block {}: {}{}{}", i, ToString(request.result(i)),
                                               why.empty() ? "" : ": ", why));
  }
  return {};
}

Result<void> PoolLoader::Store(const Content& content) {
  std::vector<Segment> from;
  for (std::uint64_t b = 0; b < setting_.blocks; ++b) {
    from.push_back({content.Block(b).data(), setting_.block_bytes});
  }
  PutRequest put;
  put.space = space_;
  put.keys = keys_;
  put.from = from;
  put.ordinal = 0;
  if (const Status status = channel_->Submit(put); status != Status::kOk) {
    return Fail(status, "the pool refuses the put");
  }
  Request* done = nullptr;
  while (channel_->Poll({&done, 1}) == 0) channel_->Wait(std::chrono::seconds(1));
  return Check(put);
}

Result<Load> PoolLoader::Bring(std::uint64_t blocks, double layer_s) {
  for (const DeviceConfig& device : config_.devices) {
    if (device.kind == DeviceKind::kFile) DropFromPageCache(device.path);
  }
  std::vector<Segment> into;
  for (std::uint64_t b = 0; b < blocks; ++b) {
    into.push_back(
        {destination_.data() + b * setting_.block_bytes, setting_.block_bytes, MemoryKind::kGpu});
  }
  GetRequest get;
  get.space = space_;
  get.keys = std::span(keys_).first(blocks);
  get.into = into;
  const std::int64_t begin_ns = Clock::Monotonic().NowNs();
  if (const Status status = channel_->Submit(get); status != Status::kOk) {
    return Fail(status, "the pool refuses the get");
  }
  Load load;
  std::uint32_t used = 0;
  Request* done = nullptr;
  bool ended = false;
  while (!ended) {
    ended = channel_->Poll({&done, 1}) != 0;
    const double now_s = 1e-9 * static_cast<double>(Clock::Monotonic().NowNs() - begin_ns);
    const std::uint32_t ready = get.LayersReady();
    if (used == 0 && ready > 0) load.first_layer_s = now_s;
    for (; used < ready; ++used) load.ttft_s = std::max(load.ttft_s, now_s) + layer_s;
    load.whole_s = now_s;
    if (!ended) channel_->Wait(kLook);
  }
  if (auto good = Check(get); !good) return tl::unexpected(good.error());
  return load;
}

class SerialLoader final : public Loader {
 public:
  SerialLoader(const LoaderParts& parts, std::unique_ptr<Contender> contender)
      : parts_(parts), contender_(std::move(contender)) {}

  Result<void> Store(const Content& content) override {
    auto stored = contender_->Store(content);
    if (!stored) return tl::unexpected(stored.error());
    return {};
  }

  Result<Load> Bring(std::uint64_t blocks, double layer_s) override {
    contender_->DropCaches();
    auto sample = contender_->Retrieve(blocks, parts_.buffer);
    if (!sample) return tl::unexpected(sample.error());
    auto copied =
        parts_.destination->CopyIn(parts_.buffer.first(blocks * parts_.setting.block_bytes));
    if (!copied) return tl::unexpected(copied.error());
    const double whole_s = sample->seconds + *copied;
    return Load{whole_s, whole_s, whole_s + layer_s * parts_.setting.layers};
  }

 private:
  const LoaderParts parts_;
  const std::unique_ptr<Contender> contender_;
};

}  // namespace

Result<std::unique_ptr<Loader>> MakePoolLoader(const LoaderParts& parts) {
  auto loader = std::make_unique<PoolLoader>(parts);
  if (auto opened = loader->Open(); !opened) return tl::unexpected(opened.error());
  return loader;
}

Result<std::unique_ptr<Loader>> MakeSerialLoader(const LoaderParts& parts) {
  auto contender = MakeSerialContender(parts.setting, true);
  if (!contender) return tl::unexpected(contender.error());
  return std::make_unique<SerialLoader>(parts, std::move(*contender));
}

}  // namespace kvpool::bench
