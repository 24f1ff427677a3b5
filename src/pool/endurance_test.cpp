// Write budgets and the count of bytes written, over restarts and on a clock that the test owns.
#include <gtest/gtest.h>

#include "pool/pool_impl.h"
#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

constexpr std::int64_t kHourNs = 3'600'000'000'000;

class EnduranceTest : public testing::Test {
 protected:
  EnduranceTest() {
    config_.catalog = dir_.path() / "catalog";
    config_.devices = {FileDevice(dir_, "worn", 64 * kMiB), FileDevice(dir_, "other", 64 * kMiB)};
    config_.devices[0].write_budget_per_day = 8 * kMiB;
    EXPECT_TRUE(Pool::Create(config_));
    Open();
  }
  void Open() {
    pool_ = PoolImpl::Open(config_, clock_).value();
    space_ = pool_->OpenSpace({.model = "m"}).value();
    channel_ = pool_->OpenChannel({}).value();
  }
  void Reopen() {
    channel_.reset();
    pool_.reset();
    Open();
  }
  std::vector<Status> PutBlocks(const std::string& context, std::size_t count,
                                std::uint32_t seed = 1) {
    return Put(*channel_, space_, Blocks(context, count, kMiB, seed));
  }
  DeviceInfo Worn() const { return pool_->info().devices[0]; }
  DeviceInfo Other() const { return pool_->info().devices[1]; }

  TempDir dir_;
  Config config_;
  ManualClock clock_;
  std::unique_ptr<PoolImpl> pool_;
  Space space_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(EnduranceTest, ADriveThatSpentItsBudgetCountsAsFull) {
  EXPECT_EQ(PutBlocks("a", 32), All(32, Status::kOk));
  EXPECT_EQ(Worn().bytes_written, 8 * kMiB);
  EXPECT_EQ(Other().bytes_written, 24 * kMiB);
  EXPECT_EQ(Worn().write_budget_left, 0u);
  EXPECT_EQ(pool_->info().evictions, 0u);
}

TEST_F(EnduranceTest, TheBudgetComesBackOverTheDay) {
  PutBlocks("a", 32);
  clock_.Advance(6 * kHourNs);
  PutBlocks("b", 16);
  EXPECT_NEAR(static_cast<double>(Worn().bytes_written), 10.0 * kMiB, 256.0 * kKiB);
}

TEST_F(EnduranceTest, WithoutABudgetSharesFollowTheSpeed) {
  config_.devices[0].write_budget_per_day = 0;
  Reopen();
  PutBlocks("a", 32);
  EXPECT_EQ(Worn().bytes_written, 16 * kMiB);
}

TEST_F(EnduranceTest, CountAndBudgetGoOnAfterARestart) {
  PutBlocks("a", 8);
  EXPECT_EQ(Worn().write_budget_left, 4 * kMiB);
  Reopen();
  EXPECT_EQ(Worn().bytes_written, 0u);
  EXPECT_EQ(Worn().bytes_written_ever, 4 * kMiB);
  EXPECT_EQ(Other().bytes_written_ever, 4 * kMiB);
  EXPECT_NEAR(static_cast<double>(Worn().write_budget_left), 4.0 * kMiB, 64.0 * kKiB);
  PutBlocks("b", 32, 2);
  EXPECT_LE(Worn().bytes_written_ever, 8 * kMiB + 64 * kKiB);
}

// What cannot be had even by evicting everything is refused without evicting anything.
TEST_F(EnduranceTest, WhenNoDriveMayBeWrittenNothingIsEvicted) {
  config_.devices[1].write_budget_per_day = 8 * kMiB;
  Reopen();
  PutBlocks("a", 16);
  const std::vector<Status> refused = PutBlocks("b", 4, 2);
  EXPECT_EQ(refused, All(4, Status::kNoSpace));
  EXPECT_EQ(pool_->info().evictions, 0u);
  EXPECT_EQ(pool_->info().blocks, 16u);
}

}  // namespace
}  // namespace kvpool::pool
