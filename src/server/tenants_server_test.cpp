// Two tenants and their clients at one daemon: who is who, and who may do and have what.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "server/server.h"
#include "server/test_tenants.h"

namespace kvpool::server {
namespace {

using pool::All;
using pool::Blocks;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uid_t kNobody = 65534;

TEST_F(TenantsServerTest, AClientIsOfTheTenantThatNamesItsUserOrGroup) {
  Daemon daemon(dir_, config_);
  const auto tenant = [&](const Peer& peer) {
    const auto tenants = Tenants::Make(config_.tenants).value();
    const auto access = tenants.AccessOf(peer, 7);
    return access ? access->tenant.name : access.error().message;
  };
  EXPECT_EQ(tenant(User(1001)), "a");
  EXPECT_EQ(tenant(User(1002)), "b");
  EXPECT_EQ(tenant(User(0)), "a") << "by name";
  EXPECT_EQ(tenant(User(5, {1, 2002})), "b");
  EXPECT_EQ(tenant(User(5, {2002, 2001})), "a") << "the first in the file";
  EXPECT_EQ(tenant(User(1003, {2001})), "c") << "the user goes before its groups";
  Peer primary = User(5);
  primary.gid = 2002;
  EXPECT_EQ(tenant(primary), "b");
  EXPECT_THAT(tenant(User(5)), HasSubstr("none of the pool's tenants"));
  EXPECT_THAT(tenant(User(5, {7})), HasSubstr("none of the pool's tenants"))
      << "the socket's group is not enough";
  const auto refused = daemon.Connect(User(5));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("have it named in users of a [[tenant]]"));
}

TEST_F(TenantsServerTest, WhoIsNotKnownHereIsOneSentence) {
  config_.tenants[0].users = {"no-such-user"};
  EXPECT_THAT(Tenants::Make(config_.tenants).error().message,
              HasSubstr("tenant \"a\": there is no user \"no-such-user\" on this machine"));
  config_.tenants[0].users = {"root"};
  config_.tenants[1].users = {"0"};
  EXPECT_THAT(Tenants::Make(config_.tenants).error().message,
              HasSubstr("user 0 is of two tenants, \"a\" and \"b\""));
}

TEST_F(TenantsServerTest, TheKernelSaysWhoAClientIs) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can be somebody else";
  config_.tenants[1].users = {std::to_string(kNobody)};
  const TestDaemon daemon(dir_, config_);
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(daemon.client().socket.c_str(), 0666), 0);
  // Of this thread alone, and so is what the kernel takes down at connect.
  const auto as = [&](uid_t uid, gid_t group, const auto& act) {
    std::thread([&] {
      ASSERT_EQ(::syscall(SYS_setgroups, 1, &group), 0);
      ASSERT_EQ(::syscall(SYS_setresuid, uid, uid, uid), 0);
      act();
    }).join();
  };
  std::unique_ptr<Pool> one;
  as(kNobody, 9, [&] { one = Pool::Open(daemon.client()).value(); });
  EXPECT_EQ(one->info().tenants.at(0).name, "b");
  as(5, 2001, [&] { one = Pool::Open(daemon.client()).value(); });
  EXPECT_EQ(one->info().tenants.at(0).name, "a");
  as(5, 9, [&] { EXPECT_EQ(Pool::Open(daemon.client()).error().status, Status::kInvalid); });
}

TEST_F(TenantsServerTest, AQuotaHoldsWhateverAClientPuts) {
  Daemon daemon(dir_, config_);
  Client a(daemon, 1001);
  Client b(daemon, 1002);
  const Blocks others("b", 100, kBlock);
  EXPECT_EQ(b.Put(b.Open(), others), All(100, Status::kOk));
  for (int i = 0; i < 10; ++i) {
    (void)a.Put(a.Open(), Blocks(std::to_string(i), 50, kBlock));
    EXPECT_LE(daemon.pool().info().tenants[0].used_bytes, 8 * kMiB);
  }
  EXPECT_EQ(b.pool->Match(b.Open(), others.keys), 100u);
}

TEST_F(TenantsServerTest, AChangedQuotaHoldsWithTheNextPuts) {
  Daemon daemon(dir_, config_);
  Client a(daemon, 1001);
  (void)a.Put(a.Open(), Blocks("before", 100, kBlock));
  EXPECT_GT(daemon.pool().info().tenants[0].used_bytes, 4 * kMiB);
  config_.tenants[0].quota_bytes = 4 * kMiB;
  ASSERT_TRUE(daemon.Change(config_.tenants));
  const auto used = [&] { return daemon.pool().info().tenants[0].used_bytes; };
  for (int i = 0; used() > 4 * kMiB; ++i) {  // what is being spilled has to wait
    (void)a.Put(a.Open(), Blocks(fmt::format("after {}", i), 1, kBlock));
  }
}

// Who may do as before does not notice.
TEST_F(TenantsServerTest, AClientThatMayDoLessIsSentAway) {
  Daemon daemon(dir_, config_);
  Client a(daemon, 1001);
  Client b(daemon, 1002);
  EXPECT_EQ(b.Put(b.Open(), blocks_), All(6, Status::kOk));
  daemon.next = User(1001);  // who comes again
  config_.tenants[0].users = {};
  ASSERT_TRUE(daemon.Change(config_.tenants));
  const auto gone = [&] { return a.pool->OpenSpace(SpecOf()).error().status; };
  while (gone() != Status::kCancelled) std::this_thread::yield();
  EXPECT_EQ(b.Get(b.Open(), blocks_, room_), All(6, Status::kOk));
  config_.tenants[0].users = {"1001"};
  ASSERT_TRUE(daemon.Change(config_.tenants));
  while (!a.pool->OpenSpace(SpecOf())) std::this_thread::yield();
  config_.tenants[0].users = {"nobody at all"};
  EXPECT_THAT(daemon.Change(config_.tenants).error().message, HasSubstr("nobody at all"));
  EXPECT_TRUE(a.pool->OpenSpace(SpecOf()));
}

TEST_F(TenantsServerTest, AClientIsToldOfItsOwnTenantOnly) {
  Daemon daemon(dir_, config_);
  Client b(daemon, 1002);
  ASSERT_EQ(b.pool->info().tenants.size(), 1u);
  EXPECT_EQ(b.pool->info().tenants[0].name, "b");
  EXPECT_EQ(b.pool->info().tenants[0].weight, 3u);
  Client root(daemon, 0);
  EXPECT_EQ(root.pool->info().tenants, daemon.pool().info().tenants);
}

// Who runs the machine may look, and does not become anybody's tenant by it.
TEST_F(TenantsServerTest, RootOfNoTenantMayOnlyAsk) {
  config_.tenants[0].users = {"1001"};
  Daemon daemon(dir_, config_);
  const auto root = daemon.Connect(User(0)).value();
  EXPECT_EQ(root->info().tenants.size(), 3u);
  EXPECT_EQ(root->OpenSpace(SpecOf()).error().status, Status::kForbidden);
  EXPECT_THAT(root->OpenSpace(SpecOf("a")).error().message,
              HasSubstr("none of the pool's tenants"));
  EXPECT_EQ(root->OpenChannel().error().status, Status::kForbidden);
  EXPECT_EQ(root->Allocate(2 * kMiB).error().status, Status::kForbidden);
}

TEST_F(TenantsServerTest, WithoutTenantsThereIsNoOwner) {
  config_.tenants.clear();
  Daemon daemon(dir_, config_);
  Client one(daemon, 0);
  EXPECT_EQ(one.pool->OpenSpace(SpecOf("a")).error().status, Status::kInvalid);
  EXPECT_EQ(one.Put(one.Open(), blocks_), All(6, Status::kOk));
  EXPECT_THAT(one.pool->info().tenants, IsEmpty());
  EXPECT_THAT(daemon.Connect(User(5)).error().message, HasSubstr("may not use the daemon"));
}

}  // namespace
}  // namespace kvpool::server
