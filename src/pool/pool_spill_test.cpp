// What lies in memory is copied to drives behind the requests.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

constexpr std::size_t kBlock = 512 * kKiB;

class PoolSpill : public testing::Test {
 protected:
  void Configure(std::uint64_t memory, std::uint64_t file) {
    config_.create_if_missing = true;
    config_.catalog = dir_.path() / "catalog.db";
    config_.devices = {MemoryDevice("dram", memory, 2e9), FileDevice(dir_, "a", file, 1e9),
                       FileDevice(dir_, "b", file, 1e9)};
  }
  void Open() {
    auto pool = Pool::Open(config_);
    ASSERT_TRUE(pool) << pool.error().message;
    pool_ = std::move(*pool);
    space_ = pool_->OpenSpace({.model = "m", .layers = 4}).value();
    channel_ = pool_->OpenChannel().value();
  }
  void Close() {
    channel_.reset();
    pool_.reset();
  }
  // Without a flush: the pool does it by itself.
  bool AllOnDrives() {
    for (int i = 0; i < 3000 && pool_->info().dirty_bytes != 0; ++i) {
      channel_->Wait(std::chrono::milliseconds(10));
    }
    return pool_->info().dirty_bytes == 0;
  }
  Status Flush(std::span<const Key> keys) {
    FlushRequest flush;
    flush.space = space_;
    flush.keys = keys;
    Complete(*channel_, flush);
    Status status = Status::kOk;
    for (const Status one : flush.results()) {
      if (one != Status::kOk) status = one;
    }
    return status;
  }
  void ExpectSame(const Blocks& blocks) {
    Room room(blocks);
    EXPECT_EQ(Get(*channel_, space_, blocks, room), All(blocks.keys.size(), Status::kOk));
    EXPECT_EQ(room.bytes, blocks.bytes);
  }
  std::uint64_t Read(std::size_t device) { return pool_->info().devices[device].bytes_read; }

  TempDir dir_;
  Config config_;
  std::unique_ptr<Pool> pool_;
  std::unique_ptr<Channel> channel_;
  Space space_;
};

TEST_F(PoolSpill, ACleanStopLeavesEverythingWarm) {
  Configure(32 * kMiB, 32 * kMiB);
  Open();
  const Blocks blocks("c", 16, kBlock);
  ASSERT_EQ(Put(*channel_, space_, blocks), All(16, Status::kOk));
  ASSERT_GT(pool_->info().devices[0].used_bytes, 0u);
  Close();
  Open();
  EXPECT_EQ(pool_->Match(space_, blocks.keys), 16u);
  ExpectSame(blocks);
}

TEST_F(PoolSpill, WhatWasPutIsOnDrivesSoonByItself) {
  Configure(32 * kMiB, 32 * kMiB);
  const Blocks blocks("c", 16, kBlock);
  const pid_t child = fork();
  if (child == 0) {
    Open();
    Put(*channel_, space_, blocks);
    const bool spilled = AllOnDrives();
    channel_->Wait(std::chrono::milliseconds(1500));  // the recorder's second
    _exit(spilled ? 0 : 1);                           // as if killed: nothing is closed
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  Open();
  EXPECT_EQ(pool_->Match(space_, blocks.keys), 16u);
  ExpectSame(blocks);
}

TEST_F(PoolSpill, AFlushOfBlocksInMemoryWaitsUntilTheyAreOnDrives) {
  Configure(32 * kMiB, 32 * kMiB);
  const Blocks blocks("c", 16, kBlock);
  const pid_t child = fork();
  if (child == 0) {
    Open();
    Put(*channel_, space_, blocks);
    _exit(Flush(blocks.keys) == Status::kOk ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  Open();
  EXPECT_EQ(pool_->Match(space_, blocks.keys), 16u);
  ExpectSame(blocks);
}

TEST_F(PoolSpill, AFlushWithoutKeysIsOneOfAllThatWasPut) {
  Configure(32 * kMiB, 32 * kMiB);
  const Blocks blocks("c", 16, kBlock);
  const pid_t child = fork();
  if (child == 0) {
    Open();
    Put(*channel_, space_, blocks);
    _exit(Flush({}) == Status::kOk ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  Open();
  EXPECT_EQ(pool_->Match(space_, blocks.keys), 16u);
}

// The first contexts filled the memory; the last has its share all the same, and the first are
// still there.
TEST_F(PoolSpill, MemoryIsGivenUpForNewBlocks) {
  Configure(16 * kMiB, 128 * kMiB);
  Open();
  std::vector<Blocks> contexts;
  for (int i = 0; i < 8; ++i) {
    contexts.emplace_back("c" + std::to_string(i), 16, kBlock, i + 1);
    ASSERT_EQ(Put(*channel_, space_, contexts.back()), All(16, Status::kOk));
    ASSERT_TRUE(AllOnDrives());
  }
  EXPECT_EQ(pool_->info().evictions, 0u);
  const std::uint64_t before = Read(0);
  ExpectSame(contexts.back());
  EXPECT_GE(Read(0) - before, 3 * kMiB);  // its share of 8 MiB is 4
  for (const Blocks& context : contexts) ExpectSame(context);
}

TEST_F(PoolSpill, WhereDrivesAreFullTheColdestBlocksMakeRoomForCopies) {
  Configure(16 * kMiB, 16 * kMiB);
  Open();
  std::vector<Blocks> contexts;
  for (int i = 0; i < 8; ++i) {
    contexts.emplace_back("c" + std::to_string(i), 16, kBlock, i + 1);
    Put(*channel_, space_, contexts.back());
  }
  EXPECT_TRUE(AllOnDrives());
  const std::size_t there = pool_->Match(space_, contexts.back().keys);
  EXPECT_EQ(there, 16u);
  Close();
  Open();
  EXPECT_EQ(pool_->Match(space_, contexts.back().keys), 16u);
  ExpectSame(contexts.back());
}

// All units lie in memory first, so each has a second place on a drive.
class PoolSecondPlaces : public PoolSpill {
 protected:
  void PutInMemoryWith(const std::string& faults, const Blocks& blocks) {
    Configure(32 * kMiB, 32 * kMiB);
    config_.devices[0].read_bytes_per_s = 1e12;
    config_.devices[0].faults = faults;
    for (std::size_t i : {1, 2}) config_.devices[i].read_bytes_per_s = 1e6;
    Open();
    ASSERT_EQ(Put(*channel_, space_, blocks), All(blocks.keys.size(), Status::kOk));
    ASSERT_TRUE(AllOnDrives());
  }
};

TEST_F(PoolSecondPlaces, WhatCannotBeReadIsReadFromTheOtherPlace) {
  const Blocks blocks("c", 16, kBlock);
  PutInMemoryWith("read.error chance=0.1; seed=7", blocks);
  for (int i = 0; i < 4; ++i) ExpectSame(blocks);
  EXPECT_GT(pool_->info().devices[0].io_errors, 0u);
  EXPECT_GT(Read(1) + Read(2), 0u);
}

TEST_F(PoolSecondPlaces, WhatIsSpoiledIsReadFromTheOtherPlaceAndGivenUp) {
  const Blocks blocks("c", 16, kBlock);
  PutInMemoryWith("read.flip after=64 every=4; seed=7", blocks);
  for (int i = 0; i < 4; ++i) ExpectSame(blocks);
  EXPECT_GT(pool_->info().devices[0].checksum_failures, 0u);
  EXPECT_LT(pool_->info().devices[0].used_bytes, 16 * kBlock);
}

TEST_F(PoolSecondPlaces, LayersAreNotReadyBeforeTheOtherPlaceHasGivenThem) {
  const Blocks blocks("c", 16, kBlock);
  PutInMemoryWith("read.error after=64 every=4; seed=7", blocks);
  Room room(blocks);
  GetRequest get;
  Aim(get, space_, blocks, room);
  ASSERT_EQ(channel_->Submit(get), Status::kOk);
  const std::size_t layer_bytes = kBlock / 4;
  Request* done = nullptr;
  while (channel_->Poll({&done, 1}) == 0) {
    const std::uint32_t ready = get.LayersReady();
    for (std::size_t i = 0; ready > 0 && i < blocks.keys.size(); ++i) {
      const std::size_t at = i * kBlock + (ready - 1) * layer_bytes;
      ASSERT_TRUE(std::equal(room.bytes.begin() + at, room.bytes.begin() + at + layer_bytes,
                             blocks.bytes.begin() + at));
    }
  }
  EXPECT_EQ(get.LayersReady(), 4u);
  EXPECT_EQ(room.bytes, blocks.bytes);
}

TEST_F(PoolSpill, ADroppedBlockGivesBackBothPlaces) {
  Configure(32 * kMiB, 32 * kMiB);
  Open();
  const Blocks blocks("c", 16, kBlock);
  Put(*channel_, space_, blocks);
  ASSERT_TRUE(AllOnDrives());
  Drop(*channel_, space_, blocks.keys);
  for (const DeviceInfo& device : pool_->info().devices) EXPECT_EQ(device.used_bytes, 0u);
  EXPECT_EQ(pool_->info().dirty_bytes, 0u);
}

}  // namespace
}  // namespace kvpool::pool
