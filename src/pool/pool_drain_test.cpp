// A device that fails too often is drained, and the pool goes on with the others.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "base/mutex.h"
#include "pool/pool_impl.h"
#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

class PoolDrainTest : public testing::Test {
 protected:
  // Four equal files; `faults` is the script of the last one.
  void Open(const std::string& faults) {
    Config config;
    config.create_if_missing = true;
    config.catalog = dir_.path() / "catalog";
    for (const char* name : {"a", "b", "c", "d"}) {
      config.devices.push_back(FileDevice(dir_, name, 64 * kMiB, 2e8));
    }
    config.devices.back().faults = faults;
    auto pool = OpenOwn(config, [this](const LogEvent& event) {
      MutexLock lock(log_mutex_);
      logged_.push_back(event.message);
    });
    ASSERT_TRUE(pool) << pool.error().message;
    pool_ = std::move(*pool);
    space_ = pool_->OpenSpace({.model = "m", .layers = 8}).value();
    channel_ = pool_->OpenChannel({}).value();
  }
  std::vector<std::string> Logged() {
    MutexLock lock(log_mutex_);
    return logged_;
  }

  DeviceInfo Last() const { return pool_->info().devices.back(); }

  // Flushes until the background work of this moment has been done, too.
  void Settle() {
    FlushRequest flush;
    flush.space = space_;
    Complete(*channel_, flush);
  }

  TempDir dir_;
  Mutex log_mutex_;
  std::vector<std::string> logged_ KVPOOL_GUARDED_BY(log_mutex_);
  std::unique_ptr<PoolImpl> pool_;
  Space space_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(PoolDrainTest, ADeviceThatFailsIsDrainedAndSaysWhy) {
  Open("read.error");
  EXPECT_EQ(Last().state, DeviceState::kServing);
  const Blocks blocks("a", 24, kMiB);
  EXPECT_EQ(Put(*channel_, space_, blocks), All(24, Status::kOk));
  Room room(blocks);
  Settle();
  EXPECT_TRUE(Logged().empty());
  Get(*channel_, space_, blocks, room);
  EXPECT_EQ(Last().state, DeviceState::kDrained);
  EXPECT_NE(Last().state_reason, "");
  EXPECT_EQ(Last().share, 0.0);
  Settle();
  Settle();
  EXPECT_EQ(Logged(), std::vector{"device \"d\" does not serve: " + Last().state_reason}) << "once";
}

TEST_F(PoolDrainTest, NothingNewGoesToADrainedDeviceAndTheOthersShareItEqually) {
  Open("read.error");
  const Blocks lost("a", 24, kMiB);
  Put(*channel_, space_, lost);
  Room room(lost);
  Get(*channel_, space_, lost, room);
  ASSERT_EQ(Last().state, DeviceState::kDrained);
  const auto before = pool_->info().devices;
  const Blocks blocks("b", 12, kMiB, 2);
  EXPECT_EQ(Put(*channel_, space_, blocks), All(12, Status::kOk));
  const auto after = pool_->info().devices;
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(static_cast<double>(after[i].bytes_written - before[i].bytes_written), 4.0 * kMiB,
                512.0 * kKiB);
  }
  EXPECT_EQ(after[3].bytes_written, before[3].bytes_written);
  Room new_room(blocks);
  EXPECT_EQ(Get(*channel_, space_, blocks, new_room), All(12, Status::kOk));
  EXPECT_EQ(new_room.bytes, blocks.bytes);
}

TEST_F(PoolDrainTest, WhatLiesOnADrainedDeviceIsNotFoundAndCanBePutAgain) {
  Open("read.error count=16");  // it would answer again, but nobody asks
  const Blocks blocks("a", 24, kMiB);
  Put(*channel_, space_, blocks);
  Room room(blocks);
  Get(*channel_, space_, blocks, room);
  ASSERT_EQ(Last().state, DeviceState::kDrained);
  const std::uint64_t errors = Last().io_errors;
  EXPECT_EQ(Get(*channel_, space_, blocks, room), All(24, Status::kNotFound));
  EXPECT_EQ(Last().io_errors, errors);
  EXPECT_EQ(Put(*channel_, space_, blocks), All(24, Status::kOk));
  EXPECT_EQ(Get(*channel_, space_, blocks, room), All(24, Status::kOk));
  EXPECT_EQ(room.bytes, blocks.bytes);
}

TEST_F(PoolDrainTest, WhatNobodyAsksForIsSweptInTheBackground) {
  Open("read.error");
  const Blocks asked("a", 24, kMiB);
  const Blocks forgotten("b", 24, kMiB, 2);
  const Blocks small("s", 2, 64 * kKiB, 3);  // one unit each: some lie on healthy devices
  Put(*channel_, space_, asked);
  Put(*channel_, space_, forgotten);
  Put(*channel_, space_, small);
  Room room(asked);
  Get(*channel_, space_, asked, room);
  ASSERT_EQ(Last().state, DeviceState::kDrained);
  Settle();
  EXPECT_EQ(pool_->Match(space_, forgotten.keys), 0u);
  EXPECT_EQ(Last().used_bytes, 0u);
  std::array<bool, 2> present{};
  pool_->Contains(space_, small.keys, present);
  EXPECT_EQ(pool_->info().blocks, static_cast<std::uint64_t>(present[0] + present[1]));
  EXPECT_GT(pool_->info().blocks, 0u);
}

TEST_F(PoolDrainTest, APutThatEndsOnADrainedDeviceIsNotPublished) {
  Open("write.error after=4");
  const Blocks first("a", 48, kMiB);
  const auto results = Put(*channel_, space_, first);
  ASSERT_EQ(Last().state, DeviceState::kDrained);
  Settle();
  const auto found = pool_->info().blocks;
  EXPECT_EQ(found,
            static_cast<std::uint64_t>(std::count(results.begin(), results.end(), Status::kOk)));
  EXPECT_EQ(Last().used_bytes, 0u);
}

TEST_F(PoolDrainTest, AfterAReopenTheRecordHasNothingOfADrainedDevice) {
  Open("read.error");
  const Blocks blocks("a", 24, kMiB);
  Put(*channel_, space_, blocks);
  Room room(blocks);
  Get(*channel_, space_, blocks, room);
  ASSERT_EQ(Last().state, DeviceState::kDrained);
  const Blocks after("b", 12, kMiB, 2);
  EXPECT_EQ(Put(*channel_, space_, after), All(12, Status::kOk));
  Settle();
  channel_.reset();
  pool_.reset();
  Open("");
  EXPECT_EQ(Last().state, DeviceState::kServing);
  EXPECT_EQ(pool_->info().blocks, 12u);
  EXPECT_EQ(pool_->info().blocks_lost_at_open, 0u);
  EXPECT_EQ(pool_->Match(space_, after.keys), 12u);
}

TEST_F(PoolDrainTest, ADurablePutFailsOnlyForBlocksOnADriveThatDoesNotFlush) {
  Open("flush.error");
  const Blocks small("s", 16, 64 * kKiB);  // a unit each, over all drives
  const auto results = Put(*channel_, space_, small, true);
  EXPECT_EQ(std::count(results.begin(), results.end(), Status::kIoError), 4);
  EXPECT_EQ(std::count(results.begin(), results.end(), Status::kOk), 12);
  channel_.reset();
  pool_.reset();
  Open("");  // what was acknowledged was recorded
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (results[i] != Status::kOk) continue;
    EXPECT_EQ(pool_->Match(space_, std::span(small.keys).subspan(i, 1)), 1u);
  }
}

TEST_F(PoolDrainTest, ADurablePutEndsAtItsDeadlineThoughADriveHoldsItsFlush) {
  Open("flush.hold");
  const Blocks blocks("a", 8, kMiB);
  PutRequest put;
  put.space = space_;
  put.keys = blocks.keys;
  put.from = blocks.segments;
  put.durable = true;
  put.deadline = std::chrono::milliseconds(300);
  Complete(*channel_, put);
  EXPECT_EQ(put.result(0), Status::kTimedOut);
  Room room(blocks);
  EXPECT_EQ(Get(*channel_, space_, blocks, room), All(8, Status::kOk));
}

TEST_F(PoolDrainTest, WithEveryDeviceDrainedThePoolAnswersAll) {
  Config config;
  config.create_if_missing = true;
  config.devices = {FileDevice(dir_, "only", 64 * kMiB, 2e8)};
  config.devices[0].faults = "read.error";
  pool_ = OpenOwn(config).value();
  space_ = pool_->OpenSpace({.model = "m", .layers = 8}).value();
  channel_ = pool_->OpenChannel({}).value();
  const Blocks blocks("a", 24, kMiB);
  Put(*channel_, space_, blocks);
  Room room(blocks);
  EXPECT_EQ(Get(*channel_, space_, blocks, room), All(24, Status::kNotFound));
  ASSERT_EQ(Last().state, DeviceState::kDrained);
  EXPECT_EQ(Put(*channel_, space_, blocks), All(24, Status::kNoSpace));
  EXPECT_EQ(Get(*channel_, space_, blocks, room), All(24, Status::kNotFound));
}

}  // namespace
}  // namespace kvpool::pool
