// Two tenants and their clients at one daemon: who sees what, and what nobody can tell.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <thread>

#include "ipc/client.h"
#include "ipc/records.h"
#include "pool/test_pool.h"
#include "server/grants.h"
#include "server/server.h"
#include "server/test_daemon.h"

namespace kvpool::server {
namespace {

using pool::All;
using pool::Blocks;
using pool::Room;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::size_t kBlock = 64 * kKiB;
constexpr uid_t kNobody = 65534;

SpaceSpec SpecOf(std::string owner = "") {
  return {.model = "m", .dtype = "bf16", .owner = std::move(owner), .layers = 4};
}

// Users 1001 and 1002 are of tenants "a" and "b"; "c" reads what "a" has.
Config SmallPool(const pool::TempDir& dir) {
  Config config;
  config.devices = {pool::MemoryDevice("ram", 64 * kMiB), pool::FileDevice(dir, "ssd", 64 * kMiB)};
  config.catalog = dir.path() / "catalog";
  config.tenants = {{.name = "a",
                     .users = {"1001", "root"},
                     .groups = {"2001"},
                     .quota_bytes = 8 * kMiB,
                     .readers = {"c"}},
                    {.name = "b", .users = {"1002"}, .groups = {"2002"}, .weight = 3},
                    {.name = "c", .users = {"1003"}}};
  return config;
}

// A daemon whose clients are whom `next` says.
class Daemon : public TestDaemon {
 public:
  Daemon(const pool::TempDir& dir, const Config& config)
      : TestDaemon(dir, config, {.peer = [this](int) { return next; }}) {}
  Result<std::unique_ptr<Pool>> Connect(const Peer& peer) {
    next = peer;
    return Pool::Open(client());
  }

  Peer next;
};

Peer User(uid_t uid, std::vector<gid_t> groups = {}) {
  return {.pid = ::getpid(), .uid = uid, .gid = 9, .groups = std::move(groups)};
}

struct Client {
  std::unique_ptr<Pool> pool;
  std::unique_ptr<Channel> channel;

  Client(Daemon& daemon, uid_t uid) {
    auto opened = daemon.Connect(User(uid));
    EXPECT_TRUE(opened) << opened.error().message;
    if (!opened) return;
    pool = std::move(*opened);
    channel = pool->OpenChannel().value();
  }
  Space Open(const std::string& owner = "") { return pool->OpenSpace(SpecOf(owner)).value(); }
  std::vector<Status> Put(Space space, const Blocks& blocks) {
    return pool::Put(*channel, space, blocks);
  }
  std::vector<Status> Get(Space space, const Blocks& blocks, Room& room) {
    return pool::Get(*channel, space, blocks, room);
  }
};

class TenantsServerTest : public testing::Test {
 protected:
  pool::TempDir dir_;
  Config config_ = SmallPool(dir_);
  const Blocks blocks_{"context", 6, kBlock};
  Room room_{blocks_};
};

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

TEST_F(TenantsServerTest, EqualKeysOfTwoTenantsAreDifferentBlocks) {
  Daemon daemon(dir_, config_);
  Client a(daemon, 1001);
  Client b(daemon, 1002);
  EXPECT_EQ(a.Put(a.Open(), blocks_), All(6, Status::kOk));
  EXPECT_EQ(b.pool->Match(b.Open(), blocks_.keys), 0u);
  EXPECT_EQ(b.Get(b.Open(), blocks_, room_), All(6, Status::kNotFound));
  const Blocks others("context", 6, kBlock, 2);
  EXPECT_EQ(b.Put(b.Open(), others), All(6, Status::kOk)) << "not kExists";
  EXPECT_EQ(a.Get(a.Open(), blocks_, room_), All(6, Status::kOk));
  EXPECT_EQ(room_.bytes, blocks_.bytes);
  EXPECT_EQ(b.Get(b.Open("b"), others, room_), All(6, Status::kOk)) << "its own, by name";
  EXPECT_EQ(room_.bytes, others.bytes);
}

TEST_F(TenantsServerTest, AReaderReadsAndChangesNothing) {
  Daemon daemon(dir_, config_);
  Client a(daemon, 1001);
  Client c(daemon, 1003);
  ASSERT_EQ(a.Put(a.Open(), blocks_), All(6, Status::kOk));
  const Space read = c.Open("a");
  EXPECT_EQ(c.pool->Match(read, blocks_.keys), 6u);
  EXPECT_EQ(c.Get(read, blocks_, room_), All(6, Status::kOk));
  EXPECT_EQ(room_.bytes, blocks_.bytes);
  EXPECT_EQ(c.Put(read, Blocks("other", 2, kBlock)), All(2, Status::kForbidden));
  EXPECT_EQ(c.Put(read, blocks_), All(6, Status::kForbidden));
  EXPECT_EQ(pool::Drop(*c.channel, read, blocks_.keys), All(6, Status::kForbidden));
  FlushRequest flush;
  flush.space = read;
  flush.keys = blocks_.keys;
  pool::Complete(*c.channel, flush);
  EXPECT_EQ(flush.result(0), Status::kForbidden);
  FlushRequest everything;
  pool::Complete(*c.channel, everything);
  EXPECT_EQ(everything.result(0), Status::kOk);
  EXPECT_EQ(a.pool->Match(a.Open(), blocks_.keys), 6u);
  EXPECT_EQ(c.pool->Match(c.Open(), blocks_.keys), 0u) << "its own is another";
}

// The space of a tenant that does not let it read, and of one that does not exist, are for a client
// what a space is that nobody has put anything into.
TEST_F(TenantsServerTest, AForbiddenHitIsAMiss) {
  Daemon daemon(dir_, config_);
  Client a(daemon, 1001);
  ASSERT_EQ(a.Put(a.Open(), blocks_), All(6, Status::kOk));
  Client b(daemon, 1002);
  for (const char* owner : {"a", "c", "nobody", "b/a", "a/b", "/", "\n"}) {
    SCOPED_TRACE(owner);
    const Space space = b.Open(owner);
    EXPECT_EQ(b.pool->Match(space, blocks_.keys), 0u);
    EXPECT_EQ(b.Get(space, blocks_, room_), All(6, Status::kNotFound));
    EXPECT_EQ(b.Put(space, blocks_), All(6, Status::kForbidden));
    EXPECT_EQ(pool::Drop(*b.channel, space, blocks_.keys), All(6, Status::kForbidden));
  }
  EXPECT_EQ(a.pool->Match(a.Open(), blocks_.keys), 6u);
  EXPECT_EQ(daemon.pool().info().tenants[1].blocks, 0u);
}

double Median(std::vector<double>& numbers) {
  const auto middle = numbers.begin() + static_cast<std::ptrdiff_t>(numbers.size() / 2);
  std::nth_element(numbers.begin(), middle, numbers.end());
  return *middle;
}

template <class Act>
double TimeUs(Act&& act) {
  const auto begin = std::chrono::steady_clock::now();
  act();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin)
      .count();
}

// How much longer the one lookup takes than the other, by medians: match, then get. Turn by turn
// and each first as often as the other, so that what else the machine does falls on both alike.
std::array<double, 2> Slowdown(Client& client, Space space, const Blocks& one,
                               const Blocks& other) {
  constexpr int kRounds = 80;
  const std::array<const Blocks*, 2> sets{&one, &other};
  std::array<std::array<std::vector<double>, 2>, 2> times_us;  // by call, by set
  Room room(one);
  for (int round = 0; round < kRounds; ++round) {
    (void)client.Get(space, Blocks("before", 1, kBlock), room);  // neither of them is the first
    for (int turn = 0; turn < 2; ++turn) {
      const auto set = static_cast<std::size_t>((round + turn) % 2);
      const auto& keys = sets[set]->keys;
      times_us[0][set].push_back(TimeUs([&] { (void)client.pool->Match(space, keys); }));
      times_us[1][set].push_back(TimeUs([&] { (void)client.Get(space, *sets[set], room); }));
    }
  }
  return {Median(times_us[0][0]) / Median(times_us[0][1]),
          Median(times_us[1][0]) / Median(times_us[1][1])};
}

// The median of several: the machine may turn to something else for all of one.
std::array<double, 2> SettledSlowdown(Client& client, Space space, const Blocks& one,
                                      const Blocks& other) {
  constexpr int kTrials = 7;
  std::array<std::vector<double>, 2> trials;  // by call
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto slowdown = Slowdown(client, space, one, other);
    trials[0].push_back(slowdown[0]);
    trials[1].push_back(slowdown[1]);
  }
  return {Median(trials[0]), Median(trials[1])};
}

TEST_F(TenantsServerTest, AForbiddenHitTakesAsLongAsAMiss) {
  Daemon daemon(dir_, config_);
  const Blocks present("present", 96, kBlock);
  const Blocks absent("absence", 96, kBlock);
  Client a(daemon, 1001);
  ASSERT_EQ(a.Put(a.Open(), present), All(96, Status::kOk));
  Client b(daemon, 1002);
  Client c(daemon, 1003);
  for (const double slowdown : SettledSlowdown(b, b.Open("a"), present, absent)) {
    EXPECT_GT(slowdown, 0.8);
    EXPECT_LT(slowdown, 1.25);
  }
  for (const double slowdown : SettledSlowdown(c, c.Open("a"), present, absent)) {
    EXPECT_GT(slowdown, 1.25) << "who may read can tell: the comparison is fine enough";
  }
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

// --- a client that speaks the protocol as it likes ---

class ForgingTest : public TenantsServerTest {
 protected:
  ForgingTest() {
    Client a(daemon_, 1001);
    EXPECT_EQ(a.Put(a.Open(), blocks_), All(6, Status::kOk));
    const auto tenants = Tenants::Make(config_.tenants).value();
    grants_ =
        std::make_unique<Grants>(daemon_.pool(), spaces_, tenants.AccessOf(User(1002), 0).value());
  }
  Result<Reply> Open(const std::string& owner) {
    return grants_->Answer(ipc::MessageType::kOpenSpace, *ipc::EncodeSpace(SpecOf(owner)), {});
  }
  Result<Reply> Presence(std::uint32_t space) {
    return grants_->Answer(ipc::MessageType::kPresence, ipc::BytesOf(ipc::Named{.id = space}), {});
  }
  // How many of the keys of "a" the table that came with a reply has.
  std::size_t Seen(const Reply& reply) const {
    const auto table = ipc::SharedTable::Adopt(Descriptor(::dup(reply.descriptors.at(0)))).value();
    return static_cast<std::size_t>(std::count_if(blocks_.keys.begin(), blocks_.keys.end(),
                                                  [&](Key key) { return ipc::IsIn(*table, key); }));
  }

  Daemon daemon_{dir_, config_};
  SharedSpaces spaces_{daemon_.pool()};
  std::unique_ptr<Grants> grants_;
};

TEST_F(ForgingTest, NoOwnerAndNoNumberGivesAForeignTable) {
  for (const char* owner : {"", "a", "b", "c", "a/b", "b/a"}) {
    const auto opened = Open(owner);
    ASSERT_TRUE(opened) << owner;
    EXPECT_EQ(Seen(*opened), 0u) << owner;
  }
  // The pool has a's space under some number below these: they are this client's own.
  std::size_t tables = 0;
  for (std::uint32_t space = 0; space < 100; ++space) {
    const auto reply = Presence(space);
    if (!reply) continue;
    ++tables;
    EXPECT_EQ(Seen(*reply), 0u) << space;
  }
  EXPECT_EQ(tables, 5u) << "its own once";
  EXPECT_FALSE(Presence(0xffffffff));

  // The same with who may read: the table has them.
  const auto tenants = Tenants::Make(config_.tenants).value();
  Grants reader(daemon_.pool(), spaces_, tenants.AccessOf(User(1003), 0).value());
  const auto read = reader.Answer(ipc::MessageType::kOpenSpace, *ipc::EncodeSpace(SpecOf("a")), {});
  ASSERT_TRUE(read);
  EXPECT_EQ(Seen(*read), blocks_.keys.size());
}

}  // namespace
}  // namespace kvpool::server
