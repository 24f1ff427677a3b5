// Tenants of one pool: whose blocks are whose, and what a quota does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "base/clock.h"
#include "base/mutex.h"
#include "catalog/testing.h"
#include "pool/pool_impl.h"
#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::size_t kBlock = kMiB;

class TenantsTest : public testing::Test {
 protected:
  TenantsTest() {
    config_.devices = {FileDevice(dir_, "a", 32 * kMiB), FileDevice(dir_, "b", 32 * kMiB)};
    config_.catalog = dir_.path() / "catalog";
    config_.tenants = {{.name = "a", .users = {"1"}, .quota_bytes = 8 * kMiB},
                       {.name = "b", .users = {"2"}}};
  }
  void Open() {
    config_.create_if_missing = true;
    auto pool = Pool::Open(config_);
    ASSERT_TRUE(pool) << pool.error().message;
    pool_ = std::move(*pool);
    a_ = SpaceOf("a");
    b_ = SpaceOf("b");
    channel_ = pool_->OpenChannel().value();
  }
  void Close() {
    channel_.reset();
    pool_.reset();
  }
  Space SpaceOf(const std::string& owner) {
    return pool_->OpenSpace({.model = "m", .owner = owner, .layers = 4}).value();
  }
  TenantInfo Of(std::size_t tenant) { return pool_->info().tenants.at(tenant); }
  std::size_t Present(Space space, const Blocks& blocks) {
    const auto present = std::make_unique<bool[]>(blocks.keys.size());
    pool_->Contains(space, blocks.keys, {present.get(), blocks.keys.size()});
    return static_cast<std::size_t>(
        std::count(present.get(), present.get() + blocks.keys.size(), true));
  }

  TempDir dir_;
  Config config_;
  std::unique_ptr<Pool> pool_;
  std::unique_ptr<Channel> channel_;
  Space a_;
  Space b_;
};

TEST_F(TenantsTest, EqualKeysOfEqualSpecsAreDifferentBlocks) {
  Open();
  const Blocks mine("c", 2, kBlock, 1);
  const Blocks others("c", 2, kBlock, 2);
  EXPECT_EQ(Put(*channel_, a_, mine), All(2, Status::kOk));
  EXPECT_EQ(pool_->Match(b_, others.keys), 0u);
  EXPECT_EQ(Put(*channel_, b_, others), All(2, Status::kOk)) << "not kExists";
  Room room(mine);
  EXPECT_EQ(Get(*channel_, a_, mine, room), All(2, Status::kOk));
  EXPECT_EQ(room.bytes, mine.bytes);
  EXPECT_EQ(Get(*channel_, b_, others, room), All(2, Status::kOk));
  EXPECT_EQ(room.bytes, others.bytes);
}

TEST_F(TenantsTest, AQuotaIsKeptByEvictingTheTenantsOwnColdest) {
  Open();
  const Blocks others("b", 40, kBlock);
  EXPECT_EQ(Put(*channel_, b_, others), All(40, Status::kOk));
  const Blocks first("first", 4, kBlock);
  EXPECT_EQ(Put(*channel_, a_, first), All(4, Status::kOk));
  EXPECT_EQ(Of(0).used_bytes, 4 * kMiB);
  for (int i = 0; i < 10; ++i) {
    const Blocks more("more" + std::to_string(i), 3, kBlock);
    EXPECT_EQ(Put(*channel_, a_, more), All(3, Status::kOk)) << i;
    EXPECT_EQ(Present(a_, more), 3u);
    EXPECT_LE(Of(0).used_bytes, 8 * kMiB);
  }
  EXPECT_EQ(Present(a_, first), 0u);
  EXPECT_EQ(Present(b_, others), 40u) << "nobody else pays";
  EXPECT_GE(Of(0).evictions, 26u);
  EXPECT_EQ(Of(1).evictions, 0u);
  EXPECT_EQ(Of(1).used_bytes, 40 * kMiB);
  EXPECT_EQ(Of(0).declined, 0u);
}

TEST_F(TenantsTest, WithoutAQuotaThePoolIsTheLimit) {
  config_.tenants[0].quota_bytes.reset();
  Open();
  EXPECT_EQ(Put(*channel_, a_, Blocks("c", 40, kBlock)), All(40, Status::kOk));
  EXPECT_EQ(Of(0).used_bytes, 40 * kMiB);
}

TEST_F(TenantsTest, WhatIsPinnedStaysAndThePutFindsNoRoom) {
  Open();
  const Blocks held("held", 6, kBlock);
  EXPECT_EQ(Put(*channel_, a_, held), All(6, Status::kOk));
  Room room(held);
  GetRequest lease;
  Aim(lease, a_, held, room);
  lease.lease = true;
  Complete(*channel_, lease);
  const Blocks more("more", 3, kBlock);
  EXPECT_THAT(Put(*channel_, a_, more), ElementsAre(Status::kOk, Status::kOk, Status::kNoSpace));
  EXPECT_EQ(Of(0).declined, 1u);
  EXPECT_EQ(Of(0).used_bytes, 8 * kMiB);
  EXPECT_EQ(Present(a_, held), 6u);
  channel_->Release(lease);
  EXPECT_EQ(Put(*channel_, a_, Blocks("then", 3, kBlock)), All(3, Status::kOk));
}

TEST_F(TenantsTest, APutLargerThanTheQuotaIsCutThere) {
  Open();
  const auto results = Put(*channel_, a_, Blocks("c", 10, kBlock));
  EXPECT_EQ(std::count(results.begin(), results.end(), Status::kOk), 8);
  EXPECT_EQ(results[9], Status::kNoSpace);
  EXPECT_EQ(Of(0).declined, 2u);
  EXPECT_EQ(Of(0).used_bytes, 8 * kMiB);
  // A block that alone is more: nothing goes for it.
  EXPECT_EQ(Put(*channel_, a_, Blocks("large", 1, 9 * kMiB)), All(1, Status::kNoSpace));
  EXPECT_EQ(Of(0).blocks, 8u);
}

TEST_F(TenantsTest, HitsAndMissesAreTheSpacesOwners) {
  Open();
  const Blocks blocks("c", 3, kBlock);
  Put(*channel_, a_, blocks);
  Room room(blocks);
  Get(*channel_, a_, blocks, room);
  Get(*channel_, b_, blocks, room);
  EXPECT_EQ(Of(0).hits, 3u);
  EXPECT_EQ(Of(0).misses, 0u);
  EXPECT_EQ(Of(1).hits, 0u);
  EXPECT_EQ(Of(1).misses, 3u);
}

TEST_F(TenantsTest, ARestartFindsWhatEachHolds) {
  Open();
  const Blocks mine("a", 6, kBlock);
  Put(*channel_, a_, mine);
  Put(*channel_, b_, Blocks("b", 10, kBlock));
  Close();
  Open();
  EXPECT_EQ(Of(0).used_bytes, 6 * kMiB);
  EXPECT_EQ(Of(0).blocks, 6u);
  EXPECT_EQ(Of(0).block_bytes, 6 * kMiB);
  EXPECT_EQ(Of(1).used_bytes, 10 * kMiB);
  Room room(mine);
  EXPECT_EQ(Get(*channel_, a_, mine, room), All(6, Status::kOk));
  EXPECT_EQ(room.bytes, mine.bytes);
  EXPECT_EQ(Put(*channel_, a_, Blocks("more", 6, kBlock)), All(6, Status::kOk));
  EXPECT_EQ(Of(0).used_bytes, 8 * kMiB);
}

TEST_F(TenantsTest, ALoweredQuotaIsReachedStepByStep) {
  config_.devices[0].capacity_bytes = config_.devices[1].capacity_bytes = 64 * kMiB;
  config_.unit_bytes = 32 * kKiB;
  config_.tenants[0].quota_bytes.reset();
  Open();
  constexpr std::size_t kSmall = 32 * kKiB;
  Put(*channel_, a_, Blocks("c", 1000, kSmall));
  const Blocks others("b", 100, kSmall);
  Put(*channel_, b_, others);
  Close();
  config_.tenants[0].quota_bytes = 2 * kMiB;  // 64 blocks
  Open();
  std::uint64_t before = Of(0).used_bytes;
  EXPECT_EQ(before, 1000 * kSmall);
  int puts = 0;
  for (; Of(0).used_bytes > 2 * kMiB; ++puts) {
    ASSERT_LT(puts, 100);
    EXPECT_EQ(Put(*channel_, a_, Blocks("d" + std::to_string(puts), 4, kSmall)),
              All(4, Status::kOk));
    EXPECT_LT(Of(0).used_bytes, before);
    EXPECT_LE(Of(0).evictions, static_cast<std::uint64_t>(puts + 1) * (64 + 4))
        << "one put does bounded work";
    before = Of(0).used_bytes;
  }
  EXPECT_GE(puts, 10);
  EXPECT_EQ(Present(b_, others), 100u);
}

TEST_F(TenantsTest, WhatBelongsToNoTenantIsNobodysAndStays) {
  config_.tenants.clear();
  Open();
  const Blocks blocks("c", 4, kBlock);
  const Space unowned = SpaceOf("");
  Put(*channel_, unowned, blocks);
  EXPECT_THAT(pool_->info().tenants, IsEmpty());
  Close();
  config_.tenants = {{.name = "a", .users = {"1"}, .quota_bytes = 8 * kMiB}};
  Open();
  EXPECT_EQ(pool_->Match(a_, blocks.keys), 0u);
  EXPECT_EQ(pool_->Match(SpaceOf(""), blocks.keys), 4u);
  EXPECT_EQ(Of(0).used_bytes, 0u);
  EXPECT_EQ(pool_->info().blocks, 4u);
}

// Checksums' seeds must not have changed where no space has an owner.
TEST_F(TenantsTest, ACatalogOfBeforeThereWereOwnersOpensWarm) {
  config_.tenants.clear();
  Open();
  const Blocks blocks("c", 4, kBlock);
  Put(*channel_, SpaceOf(""), blocks);
  Close();
  catalog::MakeFormer(config_.catalog);
  Open();
  Room room(blocks);
  EXPECT_EQ(Get(*channel_, SpaceOf(""), blocks, room), All(4, Status::kOk));
  EXPECT_EQ(room.bytes, blocks.bytes);
}

// What was too large for the former quota is no news of the one that is raised.
TEST_F(TenantsTest, ARaisedQuotaIsNotComplainedOf) {
  ASSERT_TRUE(Pool::Create(config_));
  Mutex mutex;
  std::vector<std::string> said;
  auto pool = OpenOwn(config_, [&](const LogEvent& event) {
                MutexLock lock(mutex);
                said.push_back(event.message);
              }).value();
  const auto sentences = [&] {
    MutexLock lock(mutex);
    return said;
  };
  const Space space = pool->OpenSpace({.model = "m", .owner = "a", .layers = 4}).value();
  auto channel = static_cast<Pool&>(*pool).OpenChannel().value();
  (void)Put(*channel, space, Blocks("large", 9, kBlock));
  while (sentences().empty()) std::this_thread::yield();
  config_.tenants[0].quota_bytes = 16 * kMiB;
  pool->ChangeTenants(config_.tenants);
  (void)Put(*channel, space, Blocks("it fits", 10, kBlock));
  channel.reset();
  pool.reset();
  EXPECT_THAT(sentences(), ElementsAre(HasSubstr("raise quota")));
}

}  // namespace
}  // namespace kvpool::pool
