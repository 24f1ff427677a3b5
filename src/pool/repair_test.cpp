// Catalogs that a pool cannot open with, drives that do not belong, and clocks that jump.
#include "pool/repair.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "device/open.h"
#include "pool/inspect.h"
#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

class RepairTest : public testing::Test {
 protected:
  RepairTest() : config_(ConfigIn(dir_)) { EXPECT_TRUE(Pool::Create(config_)); }

  static Config ConfigIn(const TempDir& dir) {
    Config config;
    config.catalog = dir.path() / "catalog";
    config.devices = {FileDevice(dir, "a", 32 * kMiB, 2e9), FileDevice(dir, "b", 32 * kMiB)};
    return config;
  }

  // Opens the pool, does what is asked, and closes it.
  template <class Use>
  void With(const Config& config, Use&& use) {
    auto pool = Pool::Open(config);
    ASSERT_TRUE(pool) << pool.error().message;
    const Space space = (*pool)->OpenSpace({.model = "m", .layers = 4}).value();
    auto channel = (*pool)->OpenChannel().value();
    use(**pool, *channel, space);
  }
  void Store(const Blocks& blocks) {
    With(config_, [&](Pool&, Channel& channel, Space space) {
      EXPECT_EQ(Put(channel, space, blocks), All(blocks.keys.size(), Status::kOk));
    });
  }
  // How many of the blocks come back; none with other bytes.
  std::size_t Warm(const Blocks& blocks) {
    std::size_t warm = 0;
    With(config_, [&](Pool&, Channel& channel, Space space) {
      Room room(blocks);
      const std::vector<Status> results = Get(channel, space, blocks, room);
      for (std::size_t i = 0; i < results.size(); ++i) {
        if (results[i] != Status::kOk) continue;
        ++warm;
        const std::span got(room.segments[i].data, blocks.block_bytes);
        const std::span put(blocks.segments[i].data, blocks.block_bytes);
        EXPECT_TRUE(std::equal(got.begin(), got.end(), put.begin())) << blocks.names[i];
      }
    });
    return warm;
  }
  void Overwrite(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }
  // Refused with one sentence, which names the repair; then repaired.
  void ExpectRepair(std::size_t least_kept) {
    const auto pool = Pool::Open(config_);
    ASSERT_FALSE(pool);
    EXPECT_EQ(pool.error().message.find('\n'), std::string::npos) << pool.error().message;
    EXPECT_NE(pool.error().message.find("--repair"), std::string::npos) << pool.error().message;
    const auto plan = PlanRepair(config_);
    ASSERT_TRUE(plan) << plan.error().message;
    ASSERT_TRUE(plan->needed);
    EXPECT_GE(plan->kept.rows.size(), least_kept);
    EXPECT_NE(plan->sentence.find("dropped"), std::string::npos) << plan->sentence;
    const auto repaired = Repair(config_, *plan);
    ASSERT_TRUE(repaired) << repaired.error().message;
  }

  TempDir dir_;
  Config config_;
};

TEST_F(RepairTest, AGoodPoolNeedsNone) {
  Store(Blocks("c", 4, kMiB));
  const auto plan = PlanRepair(config_);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_FALSE(plan->needed);
}

TEST_F(RepairTest, AfterGarbageThePoolOpensEmptyAndTakesTheSameKeysAgain) {
  const Blocks blocks("c", 4, kMiB);
  Store(blocks);
  for (const std::string& bytes : {std::string(), std::string(8192, 'x')}) {
    Overwrite(config_.catalog, bytes);
    ExpectRepair(0);
    EXPECT_EQ(Warm(blocks), 0u);
    Store(blocks);
    EXPECT_EQ(Warm(blocks), 4u);
  }
}

TEST_F(RepairTest, AMissingCatalogIsMadeAnew) {
  Store(Blocks("c", 4, kMiB));
  std::filesystem::remove(config_.catalog);
  ExpectRepair(0);
  EXPECT_EQ(Warm(Blocks("c", 4, kMiB)), 0u);
}

TEST_F(RepairTest, OfADamagedCatalogWhatIsLeftComesBack) {
  const Blocks blocks("c", 400, 40 * kKiB);
  Store(blocks);
  const auto size = std::filesystem::file_size(config_.catalog);
  {
    std::fstream file(config_.catalog, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(size * 3 / 4 / 4096 * 4096));
    file << std::string(4096, '\x5a');
  }
  ExpectRepair(100);
  EXPECT_GE(Warm(blocks), 100u);
  EXPECT_LT(Warm(blocks), 400u);
}

TEST_F(RepairTest, ADriveOfAnotherPoolIsLeftAloneAndNothingIsRepaired) {
  const Blocks blocks("c", 4, kMiB);
  Store(blocks);
  const TempDir other_dir;
  const Config other = ConfigIn(other_dir);
  ASSERT_TRUE(Pool::Create(other));
  With(other,
       [&](Pool&, Channel& channel, Space space) { Put(channel, space, Blocks("d", 4, kMiB, 2)); });
  Config mixed = config_;
  mixed.devices[1].path = other.devices[1].path;
  With(mixed, [&](Pool& pool, Channel& channel, Space space) {
    const DeviceInfo stranger = pool.info().devices[1];
    EXPECT_EQ(stranger.state, DeviceState::kDrained);
    EXPECT_NE(stranger.state_reason.find("another pool"), std::string::npos)
        << stranger.state_reason;
    Put(channel, space, Blocks("e", 4, kMiB, 3));
    EXPECT_EQ(pool.info().devices[1].bytes_written, 0u);
  });
  const auto plan = PlanRepair(mixed);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_FALSE(plan->needed);
  const auto report = CheckPool(other, {});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->blocks, 4u);
  EXPECT_EQ(report->blocks_bad, 0u);
  // Both of the other pool, with this one's catalog: the catalog is left alone.
  mixed = other;
  mixed.catalog = config_.catalog;
  for (const std::string& message :
       {Pool::Open(mixed).error().message, PlanRepair(mixed).error().message}) {
    EXPECT_NE(message.find("another pool"), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
}

TEST_F(RepairTest, ADriveWithOlderContentGivesMissesAndNoWrongByte) {
  const Blocks before("c", 8, kMiB, 1);
  Store(before);
  std::filesystem::copy_file(dir_.path() / "a", dir_.path() / "old");
  With(config_, [&](Pool&, Channel& channel, Space space) { Drop(channel, space, before.keys); });
  const Blocks after("c", 8, kMiB, 2);  // the same keys, other bytes
  Store(after);
  std::filesystem::rename(dir_.path() / "old", dir_.path() / "a");
  auto report = CheckPool(config_, {});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(report->blocks_bad, 0u);
  EXPECT_FALSE(report->dropped);
  const std::uint64_t bad = report->blocks_bad;
  report = CheckPool(config_, {.may_drop = [](const CheckReport&) { return true; }});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->blocks_bad, bad) << "a check without leave to drop has dropped";
  EXPECT_TRUE(report->dropped);
  report = CheckPool(config_, {});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->blocks_bad, 0u);
  EXPECT_EQ(report->blocks, 8 - bad);
  EXPECT_EQ(Warm(after), 8 - bad);
}

TEST_F(RepairTest, TheClockThatMadeADriveMayHaveBeenWrong) {
  const Blocks blocks("c", 4, kMiB);
  Store(blocks);
  for (const std::int64_t created : {std::int64_t{0}, std::int64_t{1} << 40, std::int64_t{-5}}) {
    auto label = device::ReadLabel(config_.devices[0]).value();
    label.created_unix_s = created;
    std::array<std::byte, device::kLabelBytes> page{};
    device::EncodeLabel(label, page);
    const int fd = open(config_.devices[0].path.c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    EXPECT_EQ(pwrite(fd, page.data(), page.size(), 0), static_cast<ssize_t>(page.size()));
    close(fd);
    EXPECT_EQ(Warm(blocks), 4u) << created;
  }
}

TEST_F(RepairTest, ACatalogThatIsDeletedWhileThePoolRunsIsNoticedOnce) {
  const Blocks blocks("c", 2, kMiB);
  testing::internal::CaptureStderr();
  With(config_, [&](Pool&, Channel& channel, Space space) {
    std::filesystem::remove(config_.catalog);
    EXPECT_EQ(Put(channel, space, blocks, true), All(2, Status::kIoError));
    EXPECT_EQ(Put(channel, space, Blocks("d", 2, kMiB, 2), true), All(2, Status::kIoError));
  });
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("removed or replaced"), std::string::npos) << said;
  EXPECT_EQ(said.find("removed or replaced"), said.rfind("removed or replaced")) << said;
  ExpectRepair(0);
}

}  // namespace
}  // namespace kvpool::pool
