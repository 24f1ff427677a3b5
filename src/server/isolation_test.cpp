// What a client cannot learn of another tenant's blocks, whatever it asks.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "ipc/client.h"
#include "ipc/records.h"
#include "server/grants.h"
#include "server/test_tenants.h"

namespace kvpool::server {
namespace {

using pool::All;
using pool::Blocks;
using pool::Room;

using IsolationTest = TenantsServerTest;

TEST_F(IsolationTest, EqualKeysOfTwoTenantsAreDifferentBlocks) {
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

TEST_F(IsolationTest, AReaderReadsAndChangesNothing) {
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
TEST_F(IsolationTest, AForbiddenHitIsAMiss) {
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

TEST_F(IsolationTest, AForbiddenHitTakesAsLongAsAMiss) {
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
