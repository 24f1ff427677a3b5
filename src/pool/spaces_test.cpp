// Spaces that nobody uses go, and take nothing with them that somebody wants.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "catalog/testing.h"
#include "mem/lent_memory.h"
#include "pool/pool_impl.h"
#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

constexpr std::size_t kMany = kMostIdleSpaces + 50;

class SpacesTestBase : public testing::Test {
 protected:
  SpacesTestBase() {
    config_.devices = {MemoryDevice("ram", 8 * kMiB)};
    config_.tenants = {{.name = "a", .users = {"1"}}};
  }
  void Open(Lending lending = Lending::kNone) {
    auto pool = OpenOwn(config_, LogOnStderr, lending);
    ASSERT_TRUE(pool) << pool.error().message;
    pool_ = std::move(*pool);
    channel_ = pool_->OpenChannel({}).value();
  }
  void Close() {
    channel_.reset();
    pool_.reset();
  }
  static SpaceSpec SpecOf(const std::string& model) {
    return {.model = model, .owner = "a", .layers = 1};
  }
  Space OpenSpace(const std::string& model) { return pool_->OpenSpace(SpecOf(model)).value(); }
  // Ever new ones, each open for a moment; then all that is to be recorded is.
  void PassBy(const std::string& name, bool close = true) {
    for (std::size_t i = 0; i < kMany; ++i) {
      const Space space = OpenSpace(name + std::to_string(i));
      if (close) pool_->CloseSpace(space);
    }
    Settle();
  }
  void Settle() {
    FlushRequest flush;
    flush.space = OpenSpace("settle");
    Complete(*channel_, flush);
  }
  bool Knows(const std::string& model) const {
    const auto spaces = pool_->Spaces();
    return std::any_of(spaces.begin(), spaces.end(),
                       [&](const auto& one) { return one.second.model == model; });
  }

  const TempDir dir_;
  const catalog::TestFolder folder_;  // in memory: every new space is made durable
  Config config_;
  std::unique_ptr<PoolImpl> pool_;
  std::unique_ptr<Channel> channel_;
  const Blocks blocks_{"c", 4, 64 * kKiB};
};

class SpacesTest : public SpacesTestBase, public testing::WithParamInterface<bool> {
 protected:
  SpacesTest() {
    if (!GetParam()) return;
    config_.catalog = folder_ / "catalog";
    config_.devices = {FileDevice(dir_, "file", 8 * kMiB)};
    config_.create_if_missing = true;
  }
};

class RecordedSpacesTest : public SpacesTest {};

class LentSpacesTest : public SpacesTestBase {
 protected:
  void SetUp() override { Open(Lending::kToClients); }
  std::shared_ptr<mem::BorrowedMemory> Borrow(Space space) const {
    const mem::LentMemory& lent = *pool_->Lent(space)[0];
    return mem::BorrowedMemory::Map(lent.ForBorrowers().value(), lent.bytes().size()).value();
  }
  static bool IsZero(const mem::BorrowedMemory& memory) {
    const auto bytes = memory.bytes();
    return std::all_of(bytes.begin(), bytes.end(), [](auto byte) { return byte == std::byte{0}; });
  }
};

INSTANTIATE_TEST_SUITE_P(WithACatalogAndWithout, SpacesTest, testing::Bool());
INSTANTIATE_TEST_SUITE_P(WithACatalog, RecordedSpacesTest, testing::Values(true));

TEST_P(SpacesTest, ThatNobodyUsesGoAndTheirNumbersComeAgain) {
  Open();
  const Space open = OpenSpace("open");
  const Space full = OpenSpace("full");
  EXPECT_EQ(Put(*channel_, full, blocks_), All(4, Status::kOk));
  pool_->CloseSpace(full);
  for (const char* name : {"x", "y", "z"}) PassBy(name);
  EXPECT_LE(pool_->Spaces().size(), kMostIdleSpaces + 3);
  EXPECT_FALSE(Knows("x0"));
  EXPECT_TRUE(Knows("z" + std::to_string(kMany - 1))) << "the last ones stay";
  EXPECT_TRUE(Knows("open"));
  EXPECT_EQ(OpenSpace("open").id, open.id);
  EXPECT_EQ(pool_->Match(full, blocks_.keys), 4u);
  EXPECT_LT(OpenSpace("new").id, 2 * kMany) << "of " << 3 * kMany << " that there were";
}

// The control of the above.
TEST_P(SpacesTest, ThatSomebodyHasOpenStay) {
  Open();
  PassBy("x", false);
  Settle();
  EXPECT_EQ(pool_->Spaces().size(), kMany + 1);
  EXPECT_TRUE(Knows("x0"));
}

TEST_P(SpacesTest, ThatAreOpenedTwiceAreClosedTwice) {
  Open();
  const Space space = OpenSpace("twice");
  EXPECT_EQ(OpenSpace("twice").id, space.id);
  pool_->CloseSpace(space);
  PassBy("x");
  EXPECT_TRUE(Knows("twice"));
  pool_->CloseSpace(space);
  PassBy("y");
  EXPECT_FALSE(Knows("twice"));
}

// A former client may keep the memory mapped that its space had.
TEST_F(LentSpacesTest, WhoeverGetsANumberAgainIsNotSeenByWhoBorrowedUnderIt) {
  const Space former = OpenSpace("former");
  ASSERT_EQ(Put(*channel_, former, blocks_), All(4, Status::kOk));
  if (pool_->Lent(former)[0] == nullptr) GTEST_SKIP() << "memory is on reserved hugepages";
  const auto borrowed = Borrow(former);
  ASSERT_FALSE(IsZero(*borrowed)) << "the control";
  Drop(*channel_, former, blocks_.keys);
  pool_->CloseSpace(former);
  PassBy("x");
  ASSERT_FALSE(Knows("former"));
  const Space latter = OpenSpace("latter");
  ASSERT_EQ(latter.id, former.id);
  ASSERT_EQ(Put(*channel_, latter, blocks_), All(4, Status::kOk));
  EXPECT_FALSE(IsZero(*Borrow(latter)));
  EXPECT_TRUE(IsZero(*borrowed));
}

TEST_P(SpacesTest, WhoseLastBlockIsEvictedGo) {
  Open();
  const Space space = OpenSpace("evicted");
  Put(*channel_, space, blocks_);
  pool_->CloseSpace(space);
  PassBy("x");
  ASSERT_TRUE(Knows("evicted"));
  const Space another = OpenSpace("another");
  for (int i = 0; i < 4; ++i) Put(*channel_, another, Blocks(std::to_string(i), 8, 512 * kKiB));
  ASSERT_EQ(pool_->Match(space, blocks_.keys), 0u) << "they were not evicted";
  PassBy("y");
  EXPECT_FALSE(Knows("evicted"));
}

TEST_P(SpacesTest, ThatGoLeaveTheirCounts) {
  Open();
  const auto counted = [&] {
    const PoolStatistics statistics = pool_->statistics();
    return std::accumulate(statistics.spaces.begin(), statistics.spaces.end(),
                           statistics.other_spaces.hits,
                           [](auto sum, const auto& space) { return sum + space.counts.hits; });
  };
  const Space space = OpenSpace("counted");
  Put(*channel_, space, blocks_);
  Room room(blocks_);
  Get(*channel_, space, blocks_, room);
  Drop(*channel_, space, blocks_.keys);
  pool_->CloseSpace(space);
  PassBy("x");
  ASSERT_FALSE(Knows("counted"));
  EXPECT_EQ(counted(), 4u);
  EXPECT_EQ(pool_->info().tenants.at(0).hits, 4u);
}

TEST_P(RecordedSpacesTest, AreBoundedAfterARestartToo) {
  Open();
  const Space full = OpenSpace("full");
  Put(*channel_, full, blocks_, true);
  PassBy("x", false);
  Close();
  Open();
  ASSERT_TRUE(Knows("x0"));
  Settle();
  EXPECT_LE(pool_->Spaces().size(), kMostIdleSpaces + 2);
  Close();
  Open();
  EXPECT_LE(pool_->Spaces().size(), kMostIdleSpaces + 2) << "for good";
  EXPECT_EQ(pool_->Match(OpenSpace("full"), blocks_.keys), 4u);
  Room room(blocks_);
  EXPECT_EQ(Get(*channel_, OpenSpace("full"), blocks_, room), All(4, Status::kOk));
  EXPECT_EQ(room.bytes, blocks_.bytes);
}

}  // namespace
}  // namespace kvpool::pool
