// Who gets how much of a device that several want, on a clock that the test owns. Channels with one
// client's number are first come, first served among themselves: they are the control.
#include <gtest/gtest.h>

#include <deque>

#include "device/open.h"
#include "pool/pool_impl.h"
#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

constexpr double kBytesPerS = 100e6;
constexpr std::size_t kUnit = 64 * kKiB;  // an I/O: 0.66 ms of the device
constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kStepNs = 100'000;

// How long the device is busy with so many bytes, and no more.
constexpr std::int64_t TimeOf(std::size_t bytes) {
  return static_cast<std::int64_t>(static_cast<double>(bytes) * 1e9 / kBytesPerS);
}

// One client: a channel and what it has in flight.
class User {
 public:
  using Deadline = std::optional<std::chrono::milliseconds>;

  User(PoolImpl& pool, Space space, const Blocks& stored, const ChannelOptions& options)
      : space_(space), stored_(stored), room_(stored), channel_(*pool.OpenChannel(options)) {}

  // Of the leading blocks.
  GetRequest& Get(std::size_t blocks, Priority priority = Priority::kForeground,
                  Deadline deadline = {}) {
    GetRequest& get = gets_.emplace_back();
    get.deadline = deadline;
    get.space = space_;
    get.keys = std::span(stored_.keys).first(blocks);
    get.into = std::span<const Segment>(room_.segments).first(blocks);
    get.priority = priority;
    EXPECT_EQ(channel_->Submit(get), Status::kOk);
    return get;
  }
  PutRequest& Put(const Blocks& blocks, Priority priority = Priority::kForeground,
                  Deadline deadline = {}) {
    PutRequest& put = puts_.emplace_back();
    put.deadline = deadline;
    put.space = space_;
    put.keys = blocks.keys;
    put.from = blocks.segments;
    put.ordinal = 0;
    put.priority = priority;
    EXPECT_EQ(channel_->Submit(put), Status::kOk);
    return put;
  }
  void Collect() {
    Request* done[16];
    while (const std::size_t count = channel_->Poll(done)) {
      done_.insert(done_.end(), done, done + count);
    }
  }
  // In the order in which they ended.
  const std::vector<Request*>& done() const { return done_; }
  bool Has(const Request& request) const {
    return std::find(done_.begin(), done_.end(), &request) != done_.end();
  }

 private:
  const Space space_;
  const Blocks& stored_;
  Room room_;
  std::deque<GetRequest> gets_;
  std::deque<PutRequest> puts_;
  std::vector<Request*> done_;
  std::unique_ptr<Channel> channel_;
};

class FairnessTest : public testing::Test {
 protected:
  FairnessTest() {
    Config config;
    config.unit_bytes = kUnit;
    config.lanes = 1;
    config.deadline = std::chrono::milliseconds(2100);  // ends what a test leaves
    DeviceConfig device = MemoryDevice("m", 256 * kMiB, kBytesPerS);
    device.slow = SlowConfig{.bytes_per_s = kBytesPerS};
    config.devices = {device};
    PoolParts parts{.config = config, .clock = &clock_, .threads = false};
    parts.devices.push_back({device, device::OpenDevice(device, {.clock = &clock_}).value()});
    pool_ = PoolImpl::Open(std::move(parts)).value();
    space_ = pool_->OpenSpace({.model = "m"}).value();
    User& one = Join();
    const PutRequest& put = one.Put(stored_);
    RunUntil([&] { return one.Has(put); });
  }
  ~FairnessTest() override {
    users_.clear();
    pool_.reset();
  }

  User& Join(const ChannelOptions& options = {}) {
    return users_.emplace_back(*pool_, space_, stored_, options);
  }
  template <class Done>
  void RunUntil(Done done) {
    for (;;) {
      while (pool_->Step()) {
      }
      for (User& user : users_) user.Collect();
      if (done()) return;
      clock_.Advance(kStepNs);
    }
  }
  void RunFor(std::int64_t ns) {
    const std::int64_t until = clock_.NowNs() + ns;
    RunUntil([&] { return clock_.NowNs() >= until; });
  }
  void Finish() {
    RunUntil([&] { return pool_->Idle(); });
  }
  // How long until the user's request has ended.
  std::int64_t TimeUntil(const User& user, const Request& request) {
    const std::int64_t begin = clock_.NowNs();
    RunUntil([&] { return user.Has(request); });
    return clock_.NowNs() - begin;
  }

  ManualClock clock_;
  const Blocks stored_{"context", 16, kMiB};
  std::unique_ptr<PoolImpl> pool_;
  Space space_;
  std::deque<User> users_;
};

// What a get of a MiB takes behind another client's hundred of these.
struct Behind {
  std::int64_t ns = 0;
  std::size_t others_done = 0;
};

TEST_F(FairnessTest, AHundredTimesTheBacklogGetsHalf) {
  const auto measure = [&](std::uint64_t many_client, std::uint64_t one_client) {
    User& many = Join({.client = many_client});
    User& one = Join({.client = one_client});
    for (int i = 0; i < 100; ++i) many.Get(1);
    RunFor(5 * kMs);
    Behind behind{.ns = TimeUntil(one, one.Get(1)), .others_done = many.done().size()};
    Finish();
    return behind;
  };
  const Behind fair = measure(1, 2);
  EXPECT_NEAR(static_cast<double>(fair.ns), 2.0 * TimeOf(kMiB), 4 * kMs);
  EXPECT_LE(fair.others_done, 2u);
  const Behind control = measure(3, 3);
  EXPECT_GT(control.ns, 90 * TimeOf(kMiB)) << "one client's requests wait for each other";
  EXPECT_EQ(control.others_done, 100u);
}

TEST_F(FairnessTest, EveryChannelIsAClientUnlessItIsSaidWhose) {
  User& many = Join();
  User& one = Join();
  for (int i = 0; i < 100; ++i) many.Get(1);
  EXPECT_NEAR(static_cast<double>(TimeUntil(one, one.Get(1))), 2.0 * TimeOf(kMiB), 4 * kMs);
  Finish();
}

TEST_F(FairnessTest, TenantsGetByTheirWeights) {
  const auto measure = [&](std::uint32_t heavy_weight) {
    User& heavy = Join({.tenant = 1, .tenant_weight = heavy_weight});
    User& light = Join({.tenant = 2});
    User& also_light = Join({.tenant = 2});
    for (int i = 0; i < 400; ++i) {
      for (User* user : {&heavy, &light, &also_light}) user->Get(1);
    }
    RunFor(2000 * kMs);  // 190 requests' time
    const double light_done = static_cast<double>(light.done().size() + also_light.done().size());
    EXPECT_NEAR(static_cast<double>(light.done().size()), light_done / 2, 1);
    const double ratio = static_cast<double>(heavy.done().size()) / light_done;
    Finish();
    return ratio;
  };
  EXPECT_NEAR(measure(3), 3, 0.15);  // by whole requests of 46
  EXPECT_NEAR(measure(1), 1, 0.03) << "the control";
}

TEST_F(FairnessTest, ARequestPassesABackgroundLoadInItsOwnTime) {
  User& one = Join();
  const std::int64_t alone = TimeUntil(one, one.Get(4));
  const auto behind = [&](Priority priority) {
    User& huge = Join();
    const GetRequest& load = huge.Get(16, priority);
    RunFor(20 * kMs);
    const std::int64_t ns = TimeUntil(one, one.Get(4));
    EXPECT_FALSE(huge.Has(load));
    Finish();
    EXPECT_EQ(load.result(15), Status::kOk);
    return ns;
  };
  // In flight there are four I/Os that fill gaps, and then every twentieth.
  EXPECT_LE(behind(Priority::kBackground), alone + TimeOf(4 * kUnit) + alone / 19 + 2 * kStepNs);
  EXPECT_GT(behind(Priority::kForeground), 2 * alone - TimeOf(4 * kUnit)) << "the control";
}

TEST_F(FairnessTest, ABackgroundLoadGetsWhatIsLeft) {
  User& one = Join();
  const std::int64_t alone = TimeUntil(one, one.Get(16));
  const std::int64_t behind = TimeUntil(one, one.Get(16, Priority::kBackground));
  EXPECT_LE(behind, alone + kMs) << "a device that nobody else wants is its own";
}

TEST_F(FairnessTest, TheBackgroundHasAFloorOfATwentieth) {
  User& busy = Join();
  User& load = Join();
  for (int i = 0; i < 400; ++i) busy.Get(1);
  for (int i = 0; i < 400; ++i) load.Get(1, Priority::kBackground);
  RunFor(2000 * kMs);
  EXPECT_NEAR(static_cast<double>(load.done().size()) /
                  static_cast<double>(load.done().size() + busy.done().size()),
              0.05, 0.01);
  Finish();
}

TEST_F(FairnessTest, ABackgroundPutWaitsForGetsAndPuts) {
  User& busy = Join();
  const Blocks first("first", 8, kMiB);
  const Blocks second("second", 8, kMiB);
  const PutRequest& background = busy.Put(first, Priority::kBackground);
  const PutRequest& put = busy.Put(second);
  const GetRequest& get = busy.Get(8);
  Finish();
  EXPECT_EQ(busy.done(),
            (std::vector<Request*>{const_cast<GetRequest*>(&get), const_cast<PutRequest*>(&put),
                                   const_cast<PutRequest*>(&background)}));
}

TEST_F(FairnessTest, PutsDoNotWaitForEverBehindGets) {
  User& busy = Join();
  User& other = Join();
  for (int i = 0; i < 1000; ++i) busy.Get(1);
  const Blocks blocks("put", 4, kMiB);
  const PutRequest& put = other.Put(blocks);
  const std::int64_t ns = TimeUntil(other, put);
  // A thousand I/Os first, then every fifth is the put's.
  EXPECT_NEAR(static_cast<double>(ns), TimeOf(1000 * kUnit) + 5.0 * TimeOf(4 * kMiB), 20 * kMs);
  EXPECT_EQ(put.result(0), Status::kOk);
  Finish();
}

TEST_F(FairnessTest, AChannelsRequestsEndInTheirOrder) {
  User& one = Join();
  User& other = Join();
  std::vector<Request*> submitted;
  for (int i = 0; i < 20; ++i) {
    submitted.push_back(&one.Get(static_cast<std::size_t>(1 + i % 3)));
    other.Get(2);
  }
  Finish();
  EXPECT_EQ(one.done(), submitted);
}

TEST_F(FairnessTest, WhatWaitsEndsByItsDeadlineInEveryClass) {
  User& busy = Join();
  User& late = Join();
  for (int i = 0; i < 100; ++i) busy.Get(1);
  for (const Priority priority : {Priority::kForeground, Priority::kBackground}) {
    const Blocks blocks(priority == Priority::kForeground ? "puts" : "more", 4, kMiB);
    const PutRequest& put = late.Put(blocks, priority, std::chrono::milliseconds(10));
    const GetRequest& get = late.Get(4, priority, std::chrono::milliseconds(10));
    RunFor(11 * kMs);
    EXPECT_TRUE(late.Has(put) && late.Has(get));
    EXPECT_EQ(put.result(3), Status::kTimedOut);
    EXPECT_EQ(get.result(3), Status::kTimedOut);
  }
  Finish();
}

TEST_F(FairnessTest, AWeightIsOneToAThousand) {
  for (const std::uint32_t weight : {0u, 1001u}) {
    const auto channel = pool_->OpenChannel({.tenant_weight = weight});
    ASSERT_FALSE(channel);
    EXPECT_EQ(channel.error().status, Status::kInvalid);
  }
}

}  // namespace
}  // namespace kvpool::pool
