// Store on second sight, as users of a pool see it.
#include <gtest/gtest.h>

#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

class AdmissionTest : public testing::Test {
 protected:
  void Open(Admission admission, bool catalog = false) {
    Config config;
    config.create_if_missing = true;
    config.admission = admission;
    config.devices = {MemoryDevice("dram", 8 * kMiB), FileDevice(dir_, "a", 8 * kMiB)};
    if (catalog) config.catalog = dir_.path() / "catalog";
    auto pool = Pool::Open(config);
    ASSERT_TRUE(pool) << pool.error().message;
    pool_ = std::move(*pool);
    space_ = pool_->OpenSpace({.model = "m"}).value();
    channel_ = pool_->OpenChannel().value();
  }
  std::vector<Status> PutBlocks(const Blocks& blocks) { return Put(*channel_, space_, blocks); }

  TempDir dir_;
  std::unique_ptr<Pool> pool_;
  Space space_;
  std::unique_ptr<Channel> channel_;
  const Blocks blocks_{"context", 3, kMiB};
};

TEST_F(AdmissionTest, ABlockIsStoredWhenItIsPutTheSecondTime) {
  Open(Admission::kSecondSight);
  EXPECT_EQ(PutBlocks(blocks_), All(3, Status::kDeclined));
  EXPECT_EQ(pool_->Match(space_, blocks_.keys), 0u);
  EXPECT_EQ(pool_->info().declined, 3u);
  EXPECT_EQ(pool_->info().devices[1].bytes_written, 0u);
  EXPECT_EQ(PutBlocks(blocks_), All(3, Status::kOk));
  Room room(blocks_);
  EXPECT_EQ(Get(*channel_, space_, blocks_, room), All(3, Status::kOk));
  EXPECT_EQ(room.bytes, blocks_.bytes);
  EXPECT_EQ(PutBlocks(blocks_), All(3, Status::kExists));
}

// An engine asks before it puts: that is no second sight.
TEST_F(AdmissionTest, LookingForABlockIsNoSight) {
  Open(Admission::kSecondSight);
  Room room(blocks_);
  EXPECT_EQ(pool_->Match(space_, blocks_.keys), 0u);
  EXPECT_EQ(Get(*channel_, space_, blocks_, room), All(3, Status::kNotFound));
  EXPECT_EQ(PutBlocks(blocks_), All(3, Status::kDeclined));
}

TEST_F(AdmissionTest, AKeyOfAnotherSpaceIsAnotherKey) {
  Open(Admission::kSecondSight);
  PutBlocks(blocks_);
  space_ = pool_->OpenSpace({.model = "other"}).value();
  EXPECT_EQ(PutBlocks(blocks_), All(3, Status::kDeclined));
}

TEST_F(AdmissionTest, ADurablePutIsNeverDeclined) {
  Open(Admission::kSecondSight, true);
  EXPECT_EQ(Put(*channel_, space_, blocks_, true), All(3, Status::kOk));
}

TEST_F(AdmissionTest, TheDefaultStoresAtOnce) {
  Open(Admission::kAll);
  EXPECT_EQ(PutBlocks(blocks_), All(3, Status::kOk));
  EXPECT_EQ(pool_->info().declined, 0u);
}

}  // namespace
}  // namespace kvpool::pool
