// The pool under test, and the same engine with equal shares.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/clock.h"
#include "base/limits.h"
#include "bench/compare/accounting.h"
#include "bench/compare/arithmetic.h"
#include "bench/compare/contender.h"
#include "bench/compare/layer_clock.h"
#include "bench/compare/scratch.h"
#include "device/open.h"
#include "kvpool/pool.h"

namespace kvpool::bench {
namespace {

constexpr auto kDeadline = std::chrono::hours(1);
constexpr std::chrono::nanoseconds kPatience = std::chrono::seconds(1);  // until woken

// What each device will hold of the context, 0..1.
std::vector<double> WantedShares(const Setting& setting, Placement placement) {
  const double limit = setting.memory_limit.value_or(1);
  double memory_weight = 0;
  double file_weight = 0;
  const auto weight = [&](const DeviceSpeed& device) {
    return placement == Placement::kEqual ? 1 : device.read_bytes_per_s;
  };
  for (const DeviceSpeed& device : setting.devices) {
    (device.kind == DeviceKind::kMemory ? memory_weight : file_weight) += weight(device);
  }
  double memory_share = memory_weight / (memory_weight + file_weight);
  if (file_weight > 0) memory_share = std::min(memory_share, limit);
  std::vector<double> shares;
  for (const DeviceSpeed& device : setting.devices) {
    shares.push_back(device.kind == DeviceKind::kMemory
                         ? weight(device) / memory_weight * memory_share
                         : weight(device) / file_weight * (1 - memory_share));
  }
  return shares;
}

// Room for the share and a little more, so that free space never decides; memory never above the
// limit.
std::vector<std::uint64_t> Capacities(const Setting& setting, Placement placement) {
  const auto context = static_cast<double>(setting.context_bytes());
  const double slack = context / 64 + 8 * static_cast<double>(kMiB);
  const std::vector<double> shares = WantedShares(setting, placement);
  double memory_left = std::floor(setting.memory_limit.value_or(2) * context / kSlabBytes);
  std::vector<std::uint64_t> capacities;
  for (std::size_t d = 0; d < shares.size(); ++d) {
    double slabs = std::ceil((shares[d] * context + slack) / kSlabBytes);
    if (setting.devices[d].kind == DeviceKind::kMemory) {
      slabs = std::min(slabs, memory_left);
      memory_left -= slabs;
    }
    capacities.push_back(static_cast<std::uint64_t>(slabs) * kSlabBytes);
  }
  return capacities;
}

class PoolContender final : public Contender {
 public:
  PoolContender(const Setting& setting, PoolParts parts)
      : setting_(setting), parts_(std::move(parts)) {}
  ~PoolContender() override;
  Result<void> Open(std::span<std::byte> buffer);

  Result<std::optional<Sample>> Store(const Content& content) override;
  void DropCaches() override;
  Result<Sample> Retrieve(std::uint64_t blocks, std::span<std::byte> into) override;
  Result<std::optional<double>> LayerRatio(std::uint64_t blocks,
                                           std::span<std::byte> into) override;
  std::vector<std::uint64_t> BytesRead() const override;
  std::string note() const override;

 private:
  Result<Sample> Get(std::uint64_t blocks, std::span<std::byte> into, LayerClock* layers);
  std::chrono::nanoseconds PollPeriod(std::uint64_t bytes) const;
  // Submits, waits and fills in what was measured; looks at the layers in between where asked.
  template <class AnyRequest>
  Result<Sample> Run(AnyRequest& request, std::uint64_t blocks, LayerClock* layers);

  void DropBlocks();
  void CopyLeased(GetRequest& get, std::span<std::byte> into);

  const Setting setting_;
  const PoolParts parts_;
  std::unique_ptr<Pool> pool_;
  std::shared_ptr<Memory> registered_;
  std::unique_ptr<Channel> channel_;
  Space space_;
  std::vector<std::string> names_;
  std::vector<Key> keys_;
};

Result<void> PoolContender::Open(std::span<std::byte> buffer) {
  auto pool = Pool::Open(parts_.config);
  if (!pool) return tl::unexpected(pool.error());
  pool_ = std::move(*pool);
  auto registered = pool_->Register(buffer);
  if (!registered) return tl::unexpected(registered.error());
  registered_ = std::move(*registered);
  auto space = pool_->OpenSpace({.model = "bench",
                                 .dtype = "bytes",
                                 .layout = {},
                                 .layer_group = {},
                                 .rank = {},
                                 .engine = {},
                                 .tenant_salt = {},
                                 .layers = setting_.layers});
  if (!space) return tl::unexpected(space.error());
  space_ = *space;
  auto channel = pool_->OpenChannel();
  if (!channel) return tl::unexpected(channel.error());
  channel_ = std::move(*channel);
  names_.reserve(setting_.blocks);
  for (std::uint64_t b = 0; b < setting_.blocks; ++b) {
    names_.push_back(fmt::format("block-{:08}", b));
    keys_.emplace_back(names_.back());
  }
  return {};
}

PoolContender::~PoolContender() {
  if (parts_.keep && channel_ != nullptr) DropBlocks();
  channel_.reset();
  registered_.reset();
  pool_.reset();
  if (parts_.keep) return;
  for (const DeviceConfig& device : parts_.config.devices) {
    [[maybe_unused]] const auto gone = device::RemoveDevice(device);
  }
}

// Not timed: only so that the bytes can be compared.
void PoolContender::CopyLeased(GetRequest& get, std::span<std::byte> into) {
  for (std::size_t b = 0; b < get.keys.size(); ++b) {
    if (get.result(b) != Status::kOk) continue;
    std::byte* to = into.data() + b * setting_.block_bytes;
    for (const Segment& view : get.views(b)) {
      if (view.data != to) std::memcpy(to, view.data, view.bytes);
      to += view.bytes;
    }
  }
  channel_->Release(get);
}

void PoolContender::DropBlocks() {
  DropRequest drop;
  drop.space = space_;
  drop.keys = keys_;
  if (channel_->Submit(drop) != Status::kOk) return;
  Request* done = nullptr;
  while (channel_->Poll({&done, 1}) == 0) channel_->Wait(kPatience);
}

// Fine enough to time the layers to a few thousandths, and no finer: looking costs CPU time.
std::chrono::nanoseconds PoolContender::PollPeriod(std::uint64_t bytes) const {
  const double expected_s = static_cast<double>(bytes) / SumBytesPerS(setting_);
  const double period_s = std::clamp(expected_s / 500, 0.0002, 0.01);
  return std::chrono::nanoseconds(static_cast<std::int64_t>(period_s * 1e9));
}

template <class AnyRequest>
Result<Sample> PoolContender::Run(AnyRequest& request, std::uint64_t blocks, LayerClock* layers) {
  Sample sample{.bytes = blocks * setting_.block_bytes};
  const auto period = layers == nullptr ? kPatience : PollPeriod(sample.bytes);
  const PoolInfo info = pool_->info();
  const ThreadsMeter lanes(info.lane_thread_ids);
  const double cpu_begin = ProcessCpuSeconds();
  const std::int64_t begin = Clock::Monotonic().NowNs();
  const auto elapsed = [&] {
    return 1e-9 * static_cast<double>(Clock::Monotonic().NowNs() - begin);
  };
  if (const Status status = channel_->Submit(request); status != Status::kOk) {
    return Fail(status, fmt::format("the pool refused the request: {}.", ToString(status)));
  }
  Request* done = nullptr;
  while (channel_->Poll({&done, 1}) == 0) {
    channel_->Wait(period);
    if constexpr (std::is_same_v<AnyRequest, GetRequest>) {
      if (layers != nullptr) layers->Saw(request.LayersReady(), elapsed());
    }
  }
  sample.seconds = elapsed();
  sample.cpu_s = ProcessCpuSeconds() - cpu_begin;
  std::vector<double> spin_s = pool_->info().lane_spin_s;
  for (std::size_t i = 0; i < spin_s.size(); ++i) spin_s[i] -= info.lane_spin_s[i];
  sample.blocked_s = lanes.BlockedSeconds(spin_s);
  sample.spin_s = std::accumulate(spin_s.begin(), spin_s.end(), 0.0);
  return sample;
}

Result<std::optional<Sample>> PoolContender::Store(const Content& content) {
  std::vector<Segment> segments;
  for (std::uint64_t b = 0; b < setting_.blocks; ++b) {
    const auto bytes = content.Block(b);
    segments.push_back({bytes.data(), bytes.size()});
  }
  PutRequest put;
  put.space = space_;
  put.keys = keys_;
  put.from = segments;
  put.ordinal = 0;
  auto sample = Run(put, setting_.blocks, nullptr);
  if (!sample) return tl::unexpected(sample.error());
  for (std::size_t b = 0; b < keys_.size(); ++b) {
    if (put.result(b) != Status::kOk) {
      return Fail(put.result(b),
                  fmt::format("block {} could not be stored: {}.", b, ToString(put.result(b))));
    }
  }
  return *sample;
}

Result<Sample> PoolContender::Retrieve(std::uint64_t blocks, std::span<std::byte> into) {
  return Get(blocks, into, nullptr);
}

Result<std::optional<double>> PoolContender::LayerRatio(std::uint64_t blocks,
                                                        std::span<std::byte> into) {
  LayerClock layers(setting_.layers);
  auto sample = Get(blocks, into, &layers);
  if (!sample) return tl::unexpected(sample.error());
  return layers.WorstRatio(sample->seconds);
}

Result<Sample> PoolContender::Get(std::uint64_t blocks, std::span<std::byte> into,
                                  LayerClock* layers) {
  std::vector<Segment> segments;
  for (std::uint64_t b = 0; b < blocks; ++b) {
    segments.push_back({into.data() + b * setting_.block_bytes, setting_.block_bytes});
  }
  GetRequest get;
  get.space = space_;
  get.keys = std::span(keys_).first(blocks);
  get.into = segments;
  get.lease = setting_.lease;
  auto sample = Run(get, blocks, layers);
  if (!sample) return sample;
  if (get.lease) CopyLeased(get, into);
  std::uint64_t hits = 0;
  while (hits < blocks && get.result(hits) == Status::kOk) ++hits;
  sample->hit_ratio = static_cast<double>(hits) / static_cast<double>(blocks);
  if (hits != blocks) {
    return Fail(Status::kCorrupt,
                fmt::format("block {} did not come back: {}.", hits, ToString(get.result(hits))));
  }
  return sample;
}

void PoolContender::DropCaches() {
  for (const DeviceConfig& device : parts_.config.devices) {
    if (device.kind == DeviceKind::kFile) DropFromPageCache(device.path);
  }
}

std::vector<std::uint64_t> PoolContender::BytesRead() const {
  std::vector<std::uint64_t> read(setting_.devices.size());
  const auto& configured = parts_.config.devices;
  for (const DeviceInfo& device : pool_->info().devices) {
    for (std::size_t d = 0; d < configured.size(); ++d) {
      if (configured[d].name == device.name) read[parts_.device_of[d]] = device.bytes_read;
    }
  }
  return read;
}

std::string PoolContender::note() const {
  std::vector<std::string> paths;
  for (const DeviceInfo& device : pool_->info().devices) {
    const std::string path = fmt::format("{}: {}", device.kind, device.description);
    if (std::find(paths.begin(), paths.end(), path) == paths.end()) paths.push_back(path);
  }
  std::string note;
  for (const std::string& path : paths) note += (note.empty() ? "" : "; ") + path;
  return note;
}

}  // namespace

PoolParts MakePoolParts(const Setting& setting, Placement placement) {
  PoolParts parts;
  Config& config = parts.config;
  config.name = placement == Placement::kEqual ? "equal" : "pool";
  config.unit_bytes = setting.unit_bytes;
  config.placement = placement;
  config.verify = setting.verify;
  config.deadline = kDeadline;
  config.create_if_missing = true;
  const std::vector<std::uint64_t> capacities = Capacities(setting, placement);
  for (std::size_t d = 0; d < setting.devices.size(); ++d) {
    const DeviceSpeed& speed = setting.devices[d];
    if (capacities[d] == 0) continue;
    DeviceConfig device;
    device.kind = speed.kind;
    device.name = fmt::format("{}-{}", speed.kind == DeviceKind::kMemory ? "memory" : "file", d);
    device.capacity_bytes = capacities[d];
    device.numa_node = speed.numa_node;
    device.read_bytes_per_s = speed.read_bytes_per_s;
    device.write_bytes_per_s = speed.write_bytes_per_s;
    if (speed.kind == DeviceKind::kFile) {
      device.path = setting.folder / fmt::format("{}-{}", config.name, d);
      device.accept_buffered = setting.accept_buffered;
    }
    if (speed.emulated) device.slow = SlowConfig{.bytes_per_s = speed.read_bytes_per_s};
    config.devices.push_back(device);
    parts.device_of.push_back(d);
  }
  return parts;
}

Result<std::unique_ptr<Contender>> MakePoolContender(const Setting& setting, PoolParts parts,
                                                     std::span<std::byte> buffer) {
  auto contender = std::make_unique<PoolContender>(setting, std::move(parts));
  if (auto opened = contender->Open(buffer); !opened) return tl::unexpected(opened.error());
  return contender;
}

Need PoolNeed(const Setting& setting, Placement placement) {
  Need need;
  const std::vector<std::uint64_t> capacities = Capacities(setting, placement);
  for (std::size_t d = 0; d < capacities.size(); ++d) {
    (setting.devices[d].kind == DeviceKind::kMemory ? need.memory_bytes : need.disk_bytes) +=
        capacities[d];
  }
  return need;
}

}  // namespace kvpool::bench
