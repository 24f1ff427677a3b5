// A device's speed, from completions to what is written next, on a clock that the test owns.
#include <gtest/gtest.h>

#include "base/clock.h"
#include "pool/pool_impl.h"
#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

constexpr std::size_t kBlockBytes = kMiB;
constexpr std::int64_t kStepNs = 200'000;

DeviceConfig Slowed(std::string name, double rate) {
  DeviceConfig device = MemoryDevice(std::move(name), 64 * kMiB, rate);
  device.slow = SlowConfig{.bytes_per_s = rate};
  return device;
}

// Puts, gets and drops contexts, and moves the clock.
class Load {
 public:
  explicit Load(const Config& config)
      : pool_(PoolImpl::Open(config, clock_).value()),
        space_(*pool_->OpenSpace({.model = "speed"})),
        channel_(*pool_->OpenChannel({.caller_driven = true})) {}

  void For(double seconds) {
    const std::int64_t until = clock_.NowNs() + static_cast<std::int64_t>(seconds * 1e9);
    while (clock_.NowNs() < until) Round();
  }
  double Share(std::size_t device) const { return pool_->info().devices[device].share; }
  double MeasuredRead(std::size_t device) const {
    return pool_->info().devices[device].measured_read_bytes_per_s;
  }
  double MeasuredWrite(std::size_t device) const {
    return pool_->info().devices[device].measured_write_bytes_per_s;
  }

 private:
  void Round() {
    PutRequest put;
    put.space = space_;
    put.keys = blocks_.keys;
    put.from = blocks_.segments;
    put.ordinal = 0;
    Do(put);
    GetRequest get;
    Aim(get, space_, blocks_, room_);
    Do(get);
    EXPECT_EQ(room_.bytes, blocks_.bytes);
    DropRequest drop;
    drop.space = space_;
    drop.keys = blocks_.keys;
    Do(drop);
  }
  template <class AnyRequest>
  void Do(AnyRequest& request) {
    ASSERT_EQ(channel_->Submit(request), Status::kOk);
    Request* done = nullptr;
    while (channel_->Poll({&done, 1}) == 0) clock_.Advance(kStepNs);
    for (const Status status : request.results()) ASSERT_EQ(status, Status::kOk);
  }

  ManualClock clock_;
  std::unique_ptr<PoolImpl> pool_;
  Space space_;
  std::unique_ptr<Channel> channel_;
  const Blocks blocks_{"context", 16, kBlockBytes};
  Room room_{blocks_};
};

Config Unequal() {
  Config config;
  config.devices = {Slowed("a", 100e6), Slowed("b", 50e6), Slowed("c", 50e6)};
  config.devices[0].slow->later = {{4, 50e6}, {12, 100e6}};
  return config;
}

TEST(SpeedInPool, ADeviceThatIsThrottledGetsLessAndRecovers) {
  Load run(Unequal());
  run.For(3.5);
  EXPECT_EQ(run.MeasuredRead(0), 100e6) << "steady devices keep their speed";
  EXPECT_EQ(run.MeasuredRead(1), 50e6);
  EXPECT_NEAR(run.Share(0), 0.5, 0.001);
  run.For(7);
  EXPECT_NEAR(run.MeasuredRead(0), 50e6, 3e6);
  EXPECT_NEAR(run.MeasuredWrite(0), 50e6, 3e6);
  EXPECT_NEAR(run.Share(0), 1.0 / 3, 0.02);
  EXPECT_EQ(run.MeasuredRead(1), 50e6) << "the others are as fast as before";
  run.For(7);
  EXPECT_NEAR(run.Share(0), 0.5, 0.03);
}

TEST(SpeedInPool, WithoutAdaptationTheConfiguredSharesStay) {
  Config config = Unequal();
  config.adapt = false;
  Load run(config);
  run.For(10);
  EXPECT_NEAR(run.MeasuredRead(0), 50e6, 3e6);
  EXPECT_NEAR(run.Share(0), 0.5, 0.001);
}

}  // namespace
}  // namespace kvpool::pool
