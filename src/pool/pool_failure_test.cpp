// What happens when devices lie, fail or hang: never wrong bytes, never stuck.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "kvpool/pool.h"
#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

class PoolFailureTest : public testing::Test {
 protected:
  void Open(const std::string& faults, bool verify = true) {
    channel_.reset();
    pool_.reset();
    Config config;
    config.verify = verify;
    config.create_if_missing = true;
    config.devices = {MemoryDevice("dram", 32 * kMiB), FileDevice(dir_, "a", 32 * kMiB)};
    config.devices[1].faults = faults;
    auto pool = Pool::Open(config);
    ASSERT_TRUE(pool) << pool.error().message;
    pool_ = std::move(*pool);
    space_ = pool_->OpenSpace({.model = "m", .layers = 4}).value();
    channel_ = pool_->OpenChannel().value();
  }

  // Overwrites everything behind the label of the file device.
  void SpoilFile() {
    std::fstream file(dir_.path() / "a", std::ios::in | std::ios::out | std::ios::binary);
    const std::string noise(28 * kMiB, '\x5a');
    file.seekp(2 * kMiB);
    file.write(noise.data(), static_cast<std::streamsize>(noise.size()));
  }

  // Gets the blocks: what comes back is right, and some are refused.
  void ExpectRightBytesOrNotFound(const Blocks& blocks) {
    Room room(blocks);
    const auto results = Get(*channel_, space_, blocks, room);
    EXPECT_GT(std::count(results.begin(), results.end(), Status::kNotFound), 0);
    for (std::size_t key = 0; key < results.size(); ++key) {
      if (results[key] == Status::kNotFound) continue;
      ASSERT_EQ(results[key], Status::kOk);
      EXPECT_EQ(std::memcmp(room.segments[key].data, blocks.segments[key].data, blocks.block_bytes),
                0);
    }
  }

  TempDir dir_;
  std::unique_ptr<Pool> pool_;
  Space space_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(PoolFailureTest, SpoiledBytesAreNotFoundAndCounted) {
  Open("");
  const Blocks blocks("c", 8, 2 * kMiB);
  Put(*channel_, space_, blocks);
  SpoilFile();
  Room room(blocks);
  EXPECT_EQ(Get(*channel_, space_, blocks, room), All(8, Status::kNotFound));
  EXPECT_GT(pool_->info().devices[1].checksum_failures, 0u);
  EXPECT_EQ(pool_->Match(space_, blocks.keys), 0u);  // gone for good: the engine puts it again
  EXPECT_EQ(Put(*channel_, space_, blocks), All(8, Status::kOk));
  EXPECT_EQ(Get(*channel_, space_, blocks, room), All(8, Status::kOk));
  EXPECT_EQ(room.bytes, blocks.bytes);
}

// The control: with verification off the same spoiled bytes come back as if they were right.
TEST_F(PoolFailureTest, ControlWithoutVerificationSpoiledBytesAreDelivered) {
  Open("", false);
  const Blocks blocks("c", 8, 2 * kMiB);
  Put(*channel_, space_, blocks);
  SpoilFile();
  Room room(blocks);
  EXPECT_EQ(Get(*channel_, space_, blocks, room), All(8, Status::kOk));
  EXPECT_NE(room.bytes, blocks.bytes);
}

TEST_F(PoolFailureTest, FlippedBitsAreNotFound) {
  Open("read.flip every=1");
  const Blocks blocks("c", 4, 2 * kMiB);
  Put(*channel_, space_, blocks);
  ExpectRightBytesOrNotFound(blocks);
}

TEST_F(PoolFailureTest, ReadErrorsAreNotFoundAndCounted) {
  Open("read.error every=1");
  const Blocks blocks("c", 4, 2 * kMiB);
  Put(*channel_, space_, blocks);
  Room room(blocks);
  EXPECT_EQ(Get(*channel_, space_, blocks, room), All(4, Status::kNotFound));
  EXPECT_GT(pool_->info().devices[1].io_errors, 0u);
}

TEST_F(PoolFailureTest, AFailedWriteFailsThePutAndLeaksNoSpace) {
  Open("write.error every=1");
  const Blocks blocks("c", 4, 2 * kMiB);
  EXPECT_EQ(Put(*channel_, space_, blocks), All(4, Status::kIoError));
  EXPECT_EQ(pool_->Match(space_, blocks.keys), 0u);
  for (const DeviceInfo& device : pool_->info().devices) EXPECT_EQ(device.used_bytes, 0u);
}

TEST_F(PoolFailureTest, ATornWriteIsCaughtOnRead) {
  Open("write.short every=1");
  const Blocks blocks("c", 4, 2 * kMiB);
  EXPECT_EQ(Put(*channel_, space_, blocks), All(4, Status::kOk));
  ExpectRightBytesOrNotFound(blocks);
}

TEST_F(PoolFailureTest, AHungReadEndsAtItsDeadline) {
  Open("read.hang every=1");
  const Blocks blocks("c", 4, 2 * kMiB);
  Put(*channel_, space_, blocks);
  Room room(blocks);
  GetRequest get;
  Aim(get, space_, blocks, room);
  get.deadline = std::chrono::milliseconds(50);
  Complete(*channel_, get);
  for (std::size_t key = 0; key < 4; ++key) EXPECT_EQ(get.result(key), Status::kTimedOut);
  // and no pin is left behind
  Drop(*channel_, space_, blocks.keys);
  for (const DeviceInfo& device : pool_->info().devices) EXPECT_EQ(device.used_bytes, 0u);
}

TEST_F(PoolFailureTest, ARequestBehindAHungOneEndsAtItsOwnDeadline) {
  Open("read.hang every=1");
  const Blocks first("a", 4, 2 * kMiB);
  const Blocks second("b", 4, 2 * kMiB);
  Put(*channel_, space_, first);
  Put(*channel_, space_, second);
  Room first_room(first);
  Room second_room(second);
  GetRequest patient;
  Aim(patient, space_, first, first_room);
  patient.deadline = std::chrono::milliseconds(400);
  GetRequest hasty = {};
  Aim(hasty, space_, second, second_room);
  hasty.deadline = std::chrono::milliseconds(50);
  ASSERT_EQ(channel_->Submit(patient), Status::kOk);
  ASSERT_EQ(channel_->Submit(hasty), Status::kOk);
  Request* done = nullptr;
  ASSERT_TRUE(channel_->Wait(std::chrono::seconds(30)));
  ASSERT_EQ(channel_->Poll({&done, 1}), 1u);
  EXPECT_EQ(done, &hasty);
  EXPECT_EQ(hasty.result(0), Status::kTimedOut);
  // The requests are this test's: both have to be back before it ends.
  while (channel_->Poll({&done, 1}) == 0) channel_->Wait(std::chrono::seconds(30));
  EXPECT_EQ(done, &patient);
}

TEST_F(PoolFailureTest, WithoutACatalogNothingClaimsToBeDurable) {
  Open("");
  const Blocks blocks("c", 2, kMiB);
  EXPECT_EQ(Put(*channel_, space_, blocks, true), All(2, Status::kUnsupported));
  EXPECT_EQ(Put(*channel_, space_, blocks), All(2, Status::kOk));
  FlushRequest flush;
  flush.space = space_;
  flush.keys = blocks.keys;
  Complete(*channel_, flush);
  EXPECT_EQ(flush.result(0), Status::kUnsupported);
  flush.keys = {};
  Complete(*channel_, flush);
  EXPECT_EQ(flush.result(0), Status::kOk);
}

TEST_F(PoolFailureTest, ADeviceThatDisappearsTakesOnlyItsBlocks) {
  Open("disappear after=6");
  const Blocks blocks("c", 8, 2 * kMiB);
  EXPECT_EQ(Put(*channel_, space_, blocks), All(8, Status::kOk));
  ExpectRightBytesOrNotFound(blocks);
  const Blocks small("s", 1, 4096);
  Put(*channel_, space_, small);  // whatever comes of it, it comes back
}

}  // namespace
}  // namespace kvpool::pool
