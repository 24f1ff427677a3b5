// Devices leave and come while a pool runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

constexpr std::size_t kBlock = 512 * kKiB;

class PoolReplace : public testing::Test {
 protected:
  void Open(const std::string& faults_of_b = {}) {
    config_.create_if_missing = true;
    config_.catalog = dir_.path() / "catalog.db";
    config_.deadline = std::chrono::milliseconds(3000);
    config_.devices = {MemoryDevice("dram", 32 * kMiB, 1e9), FileDevice(dir_, "a", 64 * kMiB, 1e9),
                       FileDevice(dir_, "b", 64 * kMiB, 1e9)};
    config_.devices[2].faults = faults_of_b;
    Reopen();
  }
  void Reopen() {
    channel_.reset();
    pool_.reset();
    auto pool = Pool::Open(config_);
    ASSERT_TRUE(pool) << pool.error().message;
    pool_ = std::move(*pool);
    space_ = pool_->OpenSpace({.model = "m", .layers = 4}).value();
    channel_ = pool_->OpenChannel().value();
  }
  void ReopenAfterRename(const char* from, const char* to) {
    channel_.reset();
    pool_.reset();
    std::filesystem::rename(dir_.path() / from, dir_.path() / to);
    Reopen();
  }
  void ExpectSame(const Blocks& blocks) {
    Room room(blocks);
    EXPECT_EQ(Get(*channel_, space_, blocks, room), All(blocks.keys.size(), Status::kOk));
    EXPECT_EQ(room.bytes, blocks.bytes);
  }
  DeviceInfo Info(std::size_t device) { return pool_->info().devices[device]; }

  TempDir dir_;
  Config config_;
  std::unique_ptr<Pool> pool_;
  std::unique_ptr<Channel> channel_;
  Space space_;
};

TEST_F(PoolReplace, WhatLiesOnARemovedDriveIsMovedToTheOthers) {
  Open();
  const Blocks blocks("c", 48, kBlock);
  ASSERT_EQ(Put(*channel_, space_, blocks), All(48, Status::kOk));
  ASSERT_GT(Info(2).used_bytes, 0u);
  const auto removed = pool_->RemoveDevice("b");
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(Info(2).used_bytes, 0u);
  EXPECT_EQ(Info(2).state, DeviceState::kRemoved);
  ExpectSame(blocks);
  const Blocks more("d", 8, kBlock, 2);
  ASSERT_EQ(Put(*channel_, space_, more), All(8, Status::kOk));
  EXPECT_EQ(Info(2).used_bytes, 0u);
  Reopen();  // its file is still there, with nothing on it
  ExpectSame(blocks);
  ExpectSame(more);
}

TEST_F(PoolReplace, MemoryMayLeaveToo) {
  Open();
  const Blocks blocks("c", 48, kBlock);
  ASSERT_EQ(Put(*channel_, space_, blocks), All(48, Status::kOk));
  const auto removed = pool_->RemoveDevice("dram");
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(Info(0).used_bytes, 0u);
  ExpectSame(blocks);
}

TEST_F(PoolReplace, GetsGoOnWhileADriveIsEmptied) {
  Open();
  const Blocks blocks("c", 48, kBlock);
  ASSERT_EQ(Put(*channel_, space_, blocks), All(48, Status::kOk));
  std::atomic<bool> removed{false};
  std::thread remover([&] {
    EXPECT_TRUE(pool_->RemoveDevice("b"));
    removed = true;
  });
  int rounds = 0;
  for (; !removed; ++rounds) ExpectSame(blocks);
  remover.join();
  ExpectSame(blocks);
  EXPECT_GT(rounds, 0);
}

TEST_F(PoolReplace, WhereTheOthersAreFullTheColdestBlocksGo) {
  Open();
  std::vector<Blocks> contexts;
  for (int i = 0; i < 12; ++i) {
    contexts.emplace_back("c" + std::to_string(i), 32, kBlock, i + 1);
    Put(*channel_, space_, contexts.back());
  }
  const auto removed = pool_->RemoveDevice("b");
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(Info(2).used_bytes, 0u);
  std::size_t there = 0;
  for (const Blocks& blocks : contexts) {
    Room room(blocks);
    const auto got = Get(*channel_, space_, blocks, room);
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (got[i] != Status::kOk) continue;
      ++there;
      const auto at = static_cast<std::ptrdiff_t>(i * kBlock);
      EXPECT_TRUE(std::equal(room.bytes.begin() + at, room.bytes.begin() + at + kBlock,
                             blocks.bytes.begin() + at));
    }
  }
  EXPECT_GT(there, 32u);
}

TEST_F(PoolReplace, LeasesUnderWayWhileMemoryLeavesAreRight) {
  Open();
  const Blocks blocks("c", 48, kBlock);
  ASSERT_EQ(Put(*channel_, space_, blocks), All(48, Status::kOk));
  std::atomic<bool> removed{false};
  std::thread remover([&] {
    EXPECT_TRUE(pool_->RemoveDevice("dram"));
    removed = true;
  });
  for (int rounds = 0; rounds < 3 || !removed; ++rounds) {
    Room room(blocks);
    GetRequest get;
    Aim(get, space_, blocks, room);
    get.lease = true;
    ASSERT_EQ(channel_->Submit(get), Status::kOk);
    channel_->Wait(std::chrono::milliseconds(1 + rounds % 7));  // done, perhaps, and not polled
    Request* done = nullptr;
    while (channel_->Poll({&done, 1}) == 0) channel_->Wait(std::chrono::seconds(1));
    for (std::size_t key = 0; key < blocks.keys.size(); ++key) {
      ASSERT_EQ(get.result(key), Status::kOk);
      std::size_t at = key * kBlock;
      for (const Segment& view : get.views(key)) {
        ASSERT_TRUE(std::equal(view.data, view.data + view.bytes, blocks.bytes.begin() + at));
        at += view.bytes;
      }
      ASSERT_EQ(at, (key + 1) * kBlock);
    }
    channel_->Release(get);
  }
  remover.join();
}

TEST_F(PoolReplace, ALeaseIsNotTakenAwayAndTheDeviceServesOn) {
  Open();
  config_.deadline = std::chrono::milliseconds(200);
  Reopen();
  const Blocks blocks("c", 48, kBlock);
  ASSERT_EQ(Put(*channel_, space_, blocks), All(48, Status::kOk));
  Room room(blocks);
  GetRequest get;
  Aim(get, space_, blocks, room);
  get.lease = true;
  Complete(*channel_, get);
  const auto removed = pool_->RemoveDevice("dram");
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().status, Status::kTimedOut);
  EXPECT_EQ(Info(0).state, DeviceState::kServing);
  channel_->Release(get);
  EXPECT_TRUE(pool_->RemoveDevice("dram"));
}

TEST_F(PoolReplace, AnotherDriveTakesThePlaceOfADrainedOne) {
  Open("read.error");
  const Blocks blocks("c", 48, kBlock);
  ASSERT_EQ(Put(*channel_, space_, blocks, true), All(48, Status::kOk));
  Room room(blocks);
  for (int i = 0; i < 100 && Info(2).state == DeviceState::kServing; ++i) {
    Put(*channel_, space_, blocks, true);
    Get(*channel_, space_, blocks, room);
  }
  ASSERT_EQ(Info(2).state, DeviceState::kDrained);
  DeviceConfig by = FileDevice(dir_, "c", 64 * kMiB, 1e9);
  const auto replaced = pool_->ReplaceDevice("b", by);
  ASSERT_TRUE(replaced) << replaced.error().message;
  EXPECT_EQ(Info(2).name, "c");
  EXPECT_EQ(Info(2).state, DeviceState::kServing);
  const Blocks more("d", 32, kBlock, 2);
  ASSERT_EQ(Put(*channel_, space_, more), All(32, Status::kOk));
  EXPECT_GT(Info(2).used_bytes, 0u);
  ExpectSame(more);
  config_.devices[2] = by;
  Reopen();
  ExpectSame(more);
}

// Half of what a drive takes with it is put anew without it, and then all is dropped.
TEST_F(PoolReplace, WhatWasReplacedOrDroppedDoesNotComeBackWithADriveThatWasAway) {
  Open();
  const Blocks blocks("c", 48, kBlock);
  ASSERT_EQ(Put(*channel_, space_, blocks, true), All(48, Status::kOk));
  ReopenAfterRename("b", "away");
  ASSERT_EQ(Info(2).state, DeviceState::kDrained);
  ASSERT_LT(pool_->info().blocks, 48u);
  const Blocks again("c", 24, kBlock, 2);
  Put(*channel_, space_, again, true);
  Drop(*channel_, space_, blocks.keys);
  FlushRequest flush;
  flush.space = space_;
  Complete(*channel_, flush);
  ASSERT_EQ(flush.result(0), Status::kOk);
  ReopenAfterRename("away", "b");
  ASSERT_EQ(Info(2).state, DeviceState::kServing);
  EXPECT_EQ(pool_->info().blocks, 0u);
}

TEST_F(PoolReplace, WhatLiesOnADriveThatWasAwayIsWarmWhenItIsBack) {
  Open();
  const Blocks blocks("c", 48, kBlock);
  ASSERT_EQ(Put(*channel_, space_, blocks, true), All(48, Status::kOk));
  ReopenAfterRename("b", "away");
  ASSERT_LT(pool_->info().blocks, 48u);
  ReopenAfterRename("away", "b");
  ExpectSame(blocks);
}

TEST_F(PoolReplace, WhatCannotBeDoneIsRefusedInOneSentence) {
  Open();
  EXPECT_EQ(pool_->RemoveDevice("z").error().status, Status::kNotFound);
  DeviceConfig by = FileDevice(dir_, "c", 64 * kMiB, 1e9);
  EXPECT_EQ(pool_->ReplaceDevice("b", by).error().status, Status::kInvalid);  // it serves
  ASSERT_TRUE(pool_->RemoveDevice("b"));
  EXPECT_EQ(pool_->RemoveDevice("b").error().status, Status::kInvalid);
  EXPECT_EQ(pool_->RemoveDevice("a").error().status, Status::kInvalid);  // the last drive
  by.path = dir_.path() / "a";                                           // another's
  by.name = "c";
  EXPECT_FALSE(pool_->ReplaceDevice("b", by));
  EXPECT_EQ(pool_->ReplaceDevice("b", MemoryDevice("m", 32 * kMiB)).error().status,
            Status::kInvalid);
}

}  // namespace
}  // namespace kvpool::pool
