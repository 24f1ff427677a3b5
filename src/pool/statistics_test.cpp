// What the pool counts is what was done.
#include "pool/statistics.h"

#include <gtest/gtest.h>

#include <numeric>

#include "pool/pool_impl.h"
#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

using std::chrono::milliseconds;

TEST(LatencyBucket, HoldsWhatIsUpToItsBound) {
  EXPECT_EQ(LatencyBucketOf(-5), 0u);
  EXPECT_EQ(LatencyBucketOf(0), 0u);
  for (std::size_t i = 0; i + 1 < kLatencyBuckets; ++i) {
    EXPECT_EQ(LatencyBucketOf(LatencyBoundUs(i) * 1000), i);
    EXPECT_EQ(LatencyBucketOf(LatencyBoundUs(i) * 1000 + 1), i + 1);
  }
  EXPECT_EQ(LatencyBucketOf(std::int64_t{1} << 62), kLatencyBuckets - 1);
}

TEST(LatencyHistogram, GivesQuantilesWithinABucket) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.Read().QuantileS(0.5), 0);
  for (int i = 0; i < 98; ++i) histogram.Add(3'000);  // (2, 4] us
  histogram.Add(1'500'000'000);                       // (1.05, 2.1] s
  histogram.Add(1'500'000'000);
  const LatencyCounts counts = histogram.Read();
  EXPECT_EQ(counts.Count(), 100u);
  EXPECT_EQ(counts.sum_ns, 98u * 3'000 + 2u * 1'500'000'000);
  EXPECT_NEAR(counts.QuantileS(0.49), 3e-6, 1e-12);
  EXPECT_NEAR(counts.QuantileS(0.98), 4e-6, 1e-12);
  EXPECT_NEAR(counts.QuantileS(0.99), 1.048576 * 1.5, 1e-9);
  histogram.Add(3'000);
  const LatencyCounts since = histogram.Read().Since(counts);
  EXPECT_EQ(since.Count(), 1u);
  EXPECT_EQ(since.sum_ns, 3'000u);
}

TEST(LatencyHistogram, SaysNoMoreThanItKnowsOfTheLongest) {
  LatencyHistogram histogram;
  histogram.Add(std::int64_t{1} << 50);
  EXPECT_NEAR(histogram.Read().QuantileS(0.99), 1e-6 * LatencyBoundUs(kLatencyBuckets - 2), 1e-9);
}

constexpr std::size_t kBlocks = 8;
constexpr std::size_t kBlock = 512 * kKiB;
constexpr std::uint64_t kBytes = kBlocks * kBlock;

class Statistics : public testing::Test {
 protected:
  // Memory and a file, three to one; `faults` is the file's script.
  void Open(const std::string& faults = "", double rate = 1e9) {
    Config config;
    config.create_if_missing = true;
    config.catalog = dir_.path() / "catalog.db";
    config.adapt = false;
    config.devices = {MemoryDevice("dram", 128 * kMiB, 3 * rate),
                      FileDevice(dir_, "ssd", 128 * kMiB, rate)};
    config.devices[1].faults = faults;
    pool_ = std::move(*OpenOwn(config));
    space_ = *pool_->OpenSpace({.model = "m\xff\n", .rank = "1", .tenant_salt = "s", .layers = 4});
    channel_ = *pool_->OpenChannel({});
  }
  void Flush() {
    FlushRequest flush;
    flush.space = space_;
    Complete(*channel_, flush);
    ASSERT_EQ(flush.result(0), Status::kOk);
  }
  static std::uint64_t Transfers(const PoolStatistics& statistics, bool read) {
    std::uint64_t transfers = 0;
    for (const DeviceStatistics& device : statistics.devices) {
      transfers += (read ? device.read_latency : device.write_latency).Count();
    }
    return transfers;
  }
  // The mover may be at work yet.
  void ExpectNothingUnderWay() {
    std::uint64_t under_way = 1;
    for (int i = 0; i < 3000 && under_way != 0; ++i) {
      if (i > 0) channel_->Wait(milliseconds(10));
      under_way = 0;
      for (const DeviceStatistics& device : pool_->statistics().devices) {
        under_way += device.transfers_in_flight + device.units_waiting;
      }
    }
    EXPECT_EQ(under_way, 0u);
  }

  const TempDir dir_;
  std::unique_ptr<PoolImpl> pool_;
  Space space_;
  std::unique_ptr<Channel> channel_;
  const Blocks blocks_{"c", kBlocks, kBlock};
};

TEST_F(Statistics, ArePlainZeroAtFirst) {
  Open();
  const PoolStatistics statistics = pool_->statistics();
  ASSERT_EQ(statistics.devices.size(), 2u);
  EXPECT_EQ(Transfers(statistics, true) + Transfers(statistics, false), 0u);
  EXPECT_TRUE(statistics.gets.empty() && statistics.puts.empty());
  ASSERT_EQ(statistics.spaces.size(), 1u);
  EXPECT_EQ(statistics.spaces[0].counts.hits, 0u);
  EXPECT_EQ(statistics.spaces[0].model, "m??");
  ExpectNothingUnderWay();
}

TEST_F(Statistics, CountWhatWasPutAndGot) {
  Open();
  Put(*channel_, space_, blocks_);
  Put(*channel_, space_, blocks_);  // is there already
  Flush();
  const PoolStatistics put = pool_->statistics();
  Room room(blocks_);
  Get(*channel_, space_, blocks_, room);
  const Blocks absent("absent", 3, kBlock);
  Room no_room(absent);
  Get(*channel_, space_, absent, no_room);
  const PoolStatistics got = pool_->statistics();

  const SpaceCounts& counts = got.spaces.at(0).counts;
  EXPECT_EQ(counts.stored, kBlocks);
  EXPECT_EQ(counts.stored_bytes, kBytes);
  EXPECT_EQ(counts.hits, kBlocks);
  EXPECT_EQ(counts.hit_bytes, kBytes);
  EXPECT_EQ(counts.misses, 3u);

  // Blocks are made of whole units here: nothing is padded.
  std::uint64_t written = 0, background = 0, read = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    written += put.info.devices[i].bytes_written - put.devices[i].mover_bytes_written;
    background += put.devices[i].mover_bytes_written;
    read += got.info.devices[i].bytes_read - put.info.devices[i].bytes_read;
  }
  EXPECT_EQ(written, kBytes);
  EXPECT_EQ(background, kBytes * 3 / 4);  // memory's share
  EXPECT_EQ(put.spilled_bytes, kBytes * 3 / 4);
  EXPECT_EQ(put.spilled_units, put.spilled_bytes / (kBlock / 4));  // a unit a layer
  EXPECT_EQ(read, kBytes);
  EXPECT_GT(Transfers(put, false), 0u);
  EXPECT_GT(Transfers(got, true), Transfers(put, true));
  ExpectNothingUnderWay();
}

TEST_F(Statistics, LogTheLastRequestsWithEachDevicesPart) {
  Open();
  Put(*channel_, space_, blocks_);
  Room room(blocks_);
  for (std::size_t i = 0; i < kRequestsLogged + 3; ++i) Get(*channel_, space_, blocks_, room);
  const PoolStatistics statistics = pool_->statistics();
  ASSERT_EQ(statistics.puts.size(), 1u);
  ASSERT_EQ(statistics.gets.size(), kRequestsLogged);
  std::int64_t before_ns = statistics.puts[0].start_ns;
  for (const LoggedRequest& get : statistics.gets) {
    EXPECT_GE(get.start_ns, before_ns);  // the oldest first
    before_ns = get.start_ns;
    EXPECT_EQ(get.bytes, kBytes);
    EXPECT_EQ(get.blocks, kBlocks);
    EXPECT_EQ(get.done, kBlocks);
    std::uint64_t bytes = 0;
    for (const LoggedDevice& part : get.devices) {
      bytes += part.bytes;
      EXPECT_GE(part.end_ns, get.start_ns);
      EXPECT_LE(part.end_ns, get.end_ns);
    }
    EXPECT_EQ(bytes, kBytes);
  }
  EXPECT_NEAR(statistics.devices[0].share_written, 0.75, 0.001);
  EXPECT_NEAR(statistics.devices[1].share_written, 0.25, 0.001);
  EXPECT_NEAR(statistics.devices[0].share_read + statistics.devices[1].share_read, 1, 1e-9);
}

TEST_F(Statistics, ForgetNothingThatTimesOut) {
  // So slow that each unit is a transfer, and more of them than the device takes at once.
  Open("read.hold ms=300", 1e8);
  const Blocks many("many", 128, kBlock);
  Put(*channel_, space_, many);
  const PoolStatistics before = pool_->statistics();
  GetRequest get;
  Room room(many);
  Aim(get, space_, many, room);
  get.deadline = milliseconds(20);
  Complete(*channel_, get);
  const PoolStatistics after = pool_->statistics();
  EXPECT_EQ(after.spaces.at(0).counts.hits + after.spaces.at(0).counts.misses, 128u);
  EXPECT_GT(after.spaces.at(0).counts.misses, 0u);
  EXPECT_EQ(after.devices[1].read_latency.Count(), before.devices[1].read_latency.Count());
  ExpectNothingUnderWay();
}

TEST_F(Statistics, CountADrain) {
  Open("read.error");
  Put(*channel_, space_, blocks_);
  Room room(blocks_);
  for (int i = 0; i < 64 && pool_->statistics().devices[1].drains == 0; ++i) {
    const Blocks more("c" + std::to_string(i), kBlocks, kBlock);
    Put(*channel_, space_, more);
    Get(*channel_, space_, more, room);
  }
  const PoolStatistics statistics = pool_->statistics();
  EXPECT_EQ(statistics.devices[0].drains, 0u);
  EXPECT_EQ(statistics.devices[1].drains, 1u);
  EXPECT_EQ(statistics.info.devices[1].state, DeviceState::kDrained);
  ExpectNothingUnderWay();
}

TEST_F(Statistics, ShowTheSpacesThatAreAskedForMost) {
  Open();
  for (int i = 0; i < 100; ++i) {
    const Space space = *pool_->OpenSpace({.model = std::to_string(i), .layers = 1});
    const Blocks some("x", i < 50 ? 1 : 2, 4096);
    Put(*channel_, space, some);
  }
  const PoolStatistics statistics = pool_->statistics();
  ASSERT_EQ(statistics.spaces.size(), kMostSpacesShown);
  std::uint64_t stored = statistics.other_spaces.stored;
  std::uint64_t busy = 0;
  for (const SpaceStatistics& space : statistics.spaces) {
    stored += space.counts.stored;
    busy += space.counts.stored == 2 ? 1 : 0;
  }
  EXPECT_EQ(busy, 50u);
  EXPECT_EQ(stored, 50u * 1 + 50u * 2);
}

}  // namespace
}  // namespace kvpool::pool
