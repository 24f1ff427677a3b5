// A pool without threads beside a GPU that is played, on a clock that the test owns. For tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "device/open.h"
#include "gpu/null_stager.h"
#include "pool/pool_impl.h"
#include "pool/test_pool.h"

namespace kvpool::pool {

// Passes everything on to another stager; tests change one thing in it.
class StagerAround : public gpu::Stager {
 public:
  explicit StagerAround(std::shared_ptr<gpu::Stager> inner) : inner_(std::move(inner)) {}
  const gpu::Traits& traits() const override { return inner_->traits(); }
  Result<std::unique_ptr<gpu::Queue>> OpenQueue() override { return inner_->OpenQueue(); }
  gpu::Range RangeAround(const std::byte* address) const override {
    return inner_->RangeAround(address);
  }
  Result<std::unique_ptr<gpu::ImportedMemory>> Import(gpu::Handle handle,
                                                      std::uint64_t bytes) override {
    return inner_->Import(std::move(handle), bytes);
  }
  bool Pin(std::span<std::byte> bytes) override { return inner_->Pin(bytes); }
  void Unpin(std::span<std::byte> bytes) override { inner_->Unpin(bytes); }

 private:
  const std::shared_ptr<gpu::Stager> inner_;
};

// A drive on the test's own clock: memory that the processor cannot address.
class Unmapped final : public device::Device {
 public:
  explicit Unmapped(std::unique_ptr<device::Device> inner)
      : inner_(std::move(inner)), traits_(inner_->traits()) {
    traits_.mapped = traits_.volatile_bytes = false;
  }
  const device::Traits& traits() const override { return traits_; }
  Result<std::unique_ptr<device::Queue>> OpenQueue(const device::QueueOptions& options) override {
    return inner_->OpenQueue(options);
  }

 private:
  const std::unique_ptr<device::Device> inner_;
  device::Traits traits_;
};

class GpuPoolTest : public ::testing::Test {
 protected:
  static constexpr double kMegabytes = 1e6;

  ~GpuPoolTest() override {
    channel_.reset();
    pool_.reset();
  }

  // One that is called ssd is a drive.
  static DeviceConfig Slow(std::string name, double megabytes_per_s) {
    DeviceConfig device = MemoryDevice(std::move(name), 256 * kMiB, megabytes_per_s * kMegabytes);
    device.slow = SlowConfig{.bytes_per_s = device.read_bytes_per_s};
    return device;
  }
  std::shared_ptr<gpu::Stager> Null(double megabytes_per_s) {
    return gpu::MakeNullStager(
        {.name = "toy",
         .pace = {.bytes_per_s = megabytes_per_s * kMegabytes, .latency_ns = 10'000}},
        clock_);
  }

  void Open(std::vector<DeviceConfig> devices, std::vector<std::shared_ptr<gpu::Stager>> gpus) {
    Config config;
    config.unit_bytes = unit_bytes_;
    config.adapt = false;
    PoolParts parts{.config = config, .clock = &clock_, .threads = false};
    parts.gpus = std::move(gpus);
    for (const DeviceConfig& one : devices) {
      auto opened = device::OpenDevice(one, {.clock = &clock_}).value();
      if (one.name.starts_with("ssd")) opened = std::make_unique<Unmapped>(std::move(opened));
      parts.devices.push_back({one, std::move(opened)});
    }
    pool_ = PoolImpl::Open(std::move(parts)).value();
    space_ = pool_->OpenSpace({.model = "m", .layers = layers_}).value();
    channel_ = pool_->OpenChannel({}).value();
  }

  // Moves all that can, then the clock to when more can.
  template <class Done>
  void RunUntil(Done done, std::int64_t step_ns = 20'000) {
    for (;;) {
      while (pool_->Step()) {
      }
      if (done()) return;
      const std::int64_t next_ns = pool_->NextStepNs() - clock_.NowNs();
      clock_.Advance(std::clamp<std::int64_t>(next_ns, 1, step_ns));
    }
  }
  template <class AnyRequest>
  void Run(AnyRequest& request) {
    ASSERT_EQ(channel_->Submit(request), Status::kOk);
    Request* done = nullptr;
    RunUntil([&] { return channel_->Poll({&done, 1}) == 1; });
    EXPECT_EQ(done, &request);
  }
  std::vector<Status> PutAll(const Blocks& blocks, std::span<const Segment> from) {
    PutRequest put;
    put.space = space_;
    put.keys = blocks.keys;
    put.from = from;
    put.ordinal = 0;
    Run(put);
    RunUntil([&] { return pool_->Idle(); });
    return {put.results().begin(), put.results().end()};
  }

  static std::vector<Segment> OnGpu(std::vector<Segment> segments) {
    for (Segment& segment : segments) segment.kind = MemoryKind::kGpu;
    return segments;
  }

  ManualClock clock_;
  std::uint32_t layers_ = 8;
  std::uint32_t unit_bytes_ = 64 * kKiB;
  std::unique_ptr<PoolImpl> pool_;
  Space space_;
  std::unique_ptr<Channel> channel_;
};

}  // namespace kvpool::pool
