// A pool without threads: nothing moves but by Step, on the time that its owner gives it.
#include <gtest/gtest.h>

#include "device/open.h"
#include "pool/pool_impl.h"
#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

class PoolStepTest : public testing::Test {
 protected:
  PoolStepTest() {
    config_.catalog = dir_.path() / "catalog";
    config_.devices = {FileDevice(dir_, "a", 32 * kMiB)};
    EXPECT_TRUE(Pool::Create(config_));
  }

  void Open() {
    PoolParts parts{.config = config_, .clock = &clock_, .threads = false};
    parts.log = [this](const LogEvent& event) { said_.push_back(event.message); };
    device::OpenOptions options;
    options.clock = &clock_;
    options.pool_id = device::ReadLabel(config_.devices[0]).value().pool_id;
    options.device_id = device::ReadLabel(config_.devices[0]).value().device_id;
    for (const DeviceConfig& one : config_.devices) {
      parts.devices.push_back({one, device::OpenDevice(one, options).value()});
    }
    parts.catalog = catalog::Catalog::Open(config_.catalog, options.pool_id).value();
    pool_ = PoolImpl::Open(std::move(parts)).value();
    space_ = pool_->OpenSpace({.model = "m", .layers = 4}).value();
    channel_ = pool_->OpenChannel({}).value();
  }
  void Close() {
    channel_.reset();
    pool_.reset();
  }

  template <class Done>
  void StepUntil(Done done) {
    while (!done()) pool_->Step();
  }
  bool Polled() {
    Request* done = nullptr;
    return channel_->Poll({&done, 1}) == 1;
  }
  std::vector<Status> PutNow(const Blocks& blocks, bool durable) {
    PutRequest put;
    put.space = space_;
    put.keys = blocks.keys;
    put.from = blocks.segments;
    put.durable = durable;
    EXPECT_EQ(channel_->Submit(put), Status::kOk);
    StepUntil([&] { return Polled(); });
    StepUntil([&] { return pool_->Idle(); });
    return {put.results().begin(), put.results().end()};
  }

  TempDir dir_;
  ManualClock clock_;
  Config config_;
  std::unique_ptr<PoolImpl> pool_;
  Space space_;
  std::unique_ptr<Channel> channel_;
  std::vector<std::string> said_;
};

TEST_F(PoolStepTest, NothingMovesWithoutAStep) {
  Open();
  const Blocks blocks("c", 2, kMiB);
  PutRequest put;
  put.space = space_;
  put.keys = blocks.keys;
  put.from = blocks.segments;
  ASSERT_EQ(channel_->Submit(put), Status::kOk);
  EXPECT_FALSE(channel_->Wait(std::chrono::hours(1)));
  EXPECT_EQ(pool_->NextStepNs(), 0);
  EXPECT_FALSE(pool_->Idle());
  StepUntil([&] { return channel_->Wait(std::chrono::hours(1)); });
  EXPECT_TRUE(Polled());
  EXPECT_EQ(put.result(0), Status::kOk);
  EXPECT_EQ(pool_->Match(space_, blocks.keys), 2u);
}

TEST_F(PoolStepTest, TheIntervalPassesOnTheOwnersClock) {
  Open();
  const Blocks blocks("c", 2, kMiB);
  PutNow(blocks, false);
  EXPECT_EQ(pool_->NextStepNs(), 1'000'000'000);
  const std::size_t recorder = pool_->parts() - 2;  // before the mover
  EXPECT_FALSE(pool_->StepPart(recorder));
  clock_.Advance(1'000'000'000);
  EXPECT_TRUE(pool_->StepPart(recorder));
  StepUntil([&] { return pool_->Idle(); });
  Close();
  Open();
  EXPECT_EQ(pool_->Match(space_, blocks.keys), 2u);
}

TEST_F(PoolStepTest, WhatIsNotRecordedIsLostUnlessThePoolIsStopped) {
  for (const bool stop : {false, true}) {
    Open();
    const Blocks blocks(stop ? "stopped" : "crashed", 2, kMiB);
    const Blocks durable(stop ? "durable 2" : "durable 1", 2, kMiB);
    EXPECT_EQ(PutNow(durable, true), All(2, Status::kOk));
    EXPECT_EQ(PutNow(blocks, false), All(2, Status::kOk));
    if (stop) {
      pool_->Stop();
      StepUntil([&] { return pool_->stopped(); });
    }
    Close();
    Open();
    EXPECT_EQ(pool_->Match(space_, durable.keys), 2u);
    EXPECT_EQ(pool_->Match(space_, blocks.keys), stop ? 2u : 0u);
    Close();
  }
}

// The drive fails the first spill, so the mover rests: but there is no later after a stop.
TEST_F(PoolStepTest, AStopDoesNotWaitForTheNextTimeToSpill) {
  config_.devices[0].faults = "write.error count=1";
  config_.devices.push_back(MemoryDevice("m", 32 * kMiB, 1e15));
  Open();
  const Blocks blocks("c", 1, kMiB);
  EXPECT_EQ(PutNow(blocks, false), All(1, Status::kOk));
  EXPECT_GT(pool_->info().dirty_bytes, 0u);
  pool_->Stop();
  StepUntil([&] { return pool_->stopped(); });
  EXPECT_EQ(pool_->info().dirty_bytes, 0u);
  Close();
  Open();
  EXPECT_EQ(pool_->Match(space_, blocks.keys), 1u);
}

TEST_F(PoolStepTest, AQuotaBelowOnePutIsSaidOnceWithWhatToDo) {
  config_.tenants = {{.name = "a", .users = {"1"}, .quota_bytes = 4 * kMiB}};
  Open();
  space_ = pool_->OpenSpace({.model = "m", .owner = "a", .layers = 4}).value();
  const auto a_second_later = [&] {
    clock_.Advance(1'000'000'000);
    StepUntil([&] { return pool_->Idle(); });
    pool_->Step();
  };
  PutNow(Blocks("fits", 4, kMiB), false);
  a_second_later();
  EXPECT_TRUE(said_.empty());
  for (int i = 0; i < 3; ++i) {
    PutNow(Blocks("c" + std::to_string(i), 5, kMiB), false);
    a_second_later();
  }
  ASSERT_EQ(said_.size(), 1u);
  EXPECT_EQ(
      said_[0],
      "tenant \"a\": a put takes 5 MiB and the quota is 4 MiB, so what is over is not stored: "
      "raise quota in the pool file to more than a context takes");
  EXPECT_EQ(pool_->info().tenants[0].declined, 3u);
}

TEST_F(PoolStepTest, TheAuditFindsTheUsedBytesInTheVisibleBlocks) {
  Open();
  PutNow(Blocks("c", 3, kMiB), false);
  const Store::Audit audit = pool_->audit();
  EXPECT_GT(audit.visible_bytes[0], 0u);
  EXPECT_EQ(audit.visible_bytes[0], pool_->info().devices[0].used_bytes);
  EXPECT_EQ(audit.pinned_bytes, 0u);
}

}  // namespace
}  // namespace kvpool::pool
