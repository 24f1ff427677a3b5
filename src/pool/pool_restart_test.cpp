// What survives: blocks on files after a close, found by label, and only what is whole.
#include <gtest/gtest.h>

#include <array>
#include <fstream>

#include "catalog/catalog.h"
#include "device/open.h"
#include "kvpool/pool.h"
#include "pool/inspect.h"
#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

class PoolRestartTest : public testing::Test {
 protected:
  PoolRestartTest() {
    config_.catalog = dir_.path() / "catalog";
    config_.devices = {FileDevice(dir_, "a", 32 * kMiB, 2e9), FileDevice(dir_, "b", 32 * kMiB)};
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

  TempDir dir_;
  Config config_;
  std::unique_ptr<Pool> pool_;
  Space space_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(PoolRestartTest, BlocksOnFilesAreWarmAfterAReopen) {
  ASSERT_TRUE(Pool::Create(config_));
  const Blocks blocks("c", 8, 2 * kMiB);
  Open();
  Put(*channel_, space_, blocks);
  Close();
  Open();
  EXPECT_EQ(pool_->Match(space_, blocks.keys), 8u);
  Room room(blocks);
  EXPECT_EQ(Get(*channel_, space_, blocks, room), All(8, Status::kOk));
  EXPECT_EQ(room.bytes, blocks.bytes);
  // What was there takes its room: nothing new lands on it.
  Put(*channel_, space_, Blocks("d", 4, 2 * kMiB, 2));
  EXPECT_EQ(Get(*channel_, space_, blocks, room), All(8, Status::kOk));
  EXPECT_EQ(room.bytes, blocks.bytes);
}

TEST_F(PoolRestartTest, DevicesAreFoundByLabelNotByPath) {
  ASSERT_TRUE(Pool::Create(config_));
  const Blocks blocks("c", 8, 2 * kMiB);
  Open();
  Put(*channel_, space_, blocks);
  Close();
  std::filesystem::rename(dir_.path() / "a", dir_.path() / "x");
  std::filesystem::rename(dir_.path() / "b", dir_.path() / "a");
  std::filesystem::rename(dir_.path() / "x", dir_.path() / "b");
  Open();
  Room room(blocks);
  EXPECT_EQ(Get(*channel_, space_, blocks, room), All(8, Status::kOk));
  EXPECT_EQ(room.bytes, blocks.bytes);
}

TEST_F(PoolRestartTest, DroppedBlocksStayDropped) {
  ASSERT_TRUE(Pool::Create(config_));
  const Blocks blocks("c", 2, kMiB);
  Open();
  Put(*channel_, space_, blocks);
  Drop(*channel_, space_, std::span(blocks.keys).first(1));
  Close();
  Open();
  EXPECT_EQ(pool_->info().blocks, 1u);
  EXPECT_EQ(pool_->Match(space_, std::span(blocks.keys).subspan(1)), 1u);
}

TEST_F(PoolRestartTest, ADurablePutAvoidsMemoryAndIsRecordedWhenItCompletes) {
  config_.devices.push_back(MemoryDevice("dram", 32 * kMiB, 8e9));
  ASSERT_TRUE(Pool::Create(config_));
  const Blocks blocks("c", 2, kMiB);
  Open();
  EXPECT_EQ(Put(*channel_, space_, blocks, true), All(2, Status::kOk));
  EXPECT_EQ(pool_->info().devices[2].bytes_written, 0u);
  FlushRequest flush;
  flush.space = space_;
  flush.keys = blocks.keys;
  Complete(*channel_, flush);
  EXPECT_EQ(flush.result(0), Status::kOk);
  // A copy of the files now is what a crash would leave.
  const TempDir crashed;
  for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
    std::filesystem::copy(entry.path(), crashed.path() / entry.path().filename());
  }
  Close();
  Config copy = config_;
  copy.catalog = crashed.path() / "catalog";
  for (int i = 0; i < 2; ++i) copy.devices[i].path = crashed.path() / config_.devices[i].name;
  auto pool = Pool::Open(copy);
  ASSERT_TRUE(pool) << pool.error().message;
  EXPECT_EQ((*pool)->info().blocks, 2u);
}

TEST_F(PoolRestartTest, TheNewerOfTwoRowsWinsTheirSlotsAndTheOtherIsForgotten) {
  ASSERT_TRUE(Pool::Create(config_));
  const Blocks blocks("c", 1, 2 * kMiB);
  Open();
  Put(*channel_, space_, blocks);
  Close();
  // What a crash can leave: a row of an evicted block whose slots a newer block has.
  std::uint64_t pool_id = device::ReadLabel(config_.devices[0])->pool_id;
  {
    auto catalog = std::move(*catalog::Catalog::Open(config_.catalog, pool_id));
    catalog::Change newer;
    ASSERT_TRUE(catalog->Load([&](catalog::BlockRow&& row) { newer.row = std::move(row); }));
    catalog::Change stale = newer;
    stale.row.key = "evicted";
    newer.row.generation += 1;
    ASSERT_TRUE(catalog->Apply(std::array{stale, newer}));
  }
  Open();
  EXPECT_EQ(pool_->info().blocks, 1u);
  EXPECT_EQ(pool_->info().blocks_lost_at_open, 1u);
  EXPECT_EQ(pool_->Match(space_, blocks.keys), 1u);
  Close();
  Open();
  EXPECT_EQ(pool_->info().blocks_lost_at_open, 0u);
}

TEST_F(PoolRestartTest, CreateRefusesWhatIsThereAndLeavesNothingHalfMade) {
  std::ofstream(dir_.path() / "b") << "somebody's data";
  const auto created = Pool::Create(config_);
  ASSERT_FALSE(created);
  EXPECT_NE(created.error().message.find("b"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(dir_.path() / "a"));
  EXPECT_FALSE(std::filesystem::exists(config_.catalog));
  EXPECT_EQ(std::filesystem::file_size(dir_.path() / "b"), 15u);
}

TEST_F(PoolRestartTest, OpenSaysWhatToDoWhenNothingIsThere) {
  const auto pool = Pool::Open(config_);
  ASSERT_FALSE(pool);
  EXPECT_NE(pool.error().message.find("create"), std::string::npos) << pool.error().message;
}

TEST_F(PoolRestartTest, AShrunkenDeviceIsRefused) {
  ASSERT_TRUE(Pool::Create(config_));
  std::filesystem::resize_file(dir_.path() / "b", 16 * kMiB);
  const auto pool = Pool::Open(config_);
  ASSERT_FALSE(pool);
  EXPECT_NE(pool.error().message.find("b"), std::string::npos);
}

TEST_F(PoolRestartTest, CheckReadsEverythingAndFindsAFlippedByte) {
  ASSERT_TRUE(Pool::Create(config_));
  const Blocks blocks("c", 8, 2 * kMiB);
  Open();
  Put(*channel_, space_, blocks);
  Close();
  auto report = CheckPool(config_, {});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->blocks, 8u);
  EXPECT_EQ(report->blocks_bad, 0u);
  EXPECT_EQ(report->bytes, 16 * kMiB);
  {
    std::fstream file(dir_.path() / "a", std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(2 * kMiB + 12345);
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(2 * kMiB + 12345);
    file.put(byte);
  }
  report = CheckPool(config_, {});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->blocks_bad, 1u);
}

}  // namespace
}  // namespace kvpool::pool
