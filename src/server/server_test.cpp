#include "server/server.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <cstring>
#include <deque>
#include <thread>

#include "ipc/records.h"
#include "pool/test_pool.h"
#include "server/grants.h"
#include "server/test_daemon.h"

namespace kvpool::server {
namespace {

using pool::Blocks;
using pool::Room;

constexpr std::size_t kBlock = 512 * kKiB;
const SpaceSpec kSpec{.model = "m", .dtype = "bf16", .layers = 4};

Config SmallPool(const pool::TempDir& dir) {
  Config config;
  config.devices = {pool::MemoryDevice("ram", 64 * kMiB), pool::FileDevice(dir, "ssd", 64 * kMiB)};
  config.catalog = dir.path() / "catalog";
  return config;
}

class Daemon : public TestDaemon {
 public:
  explicit Daemon(const pool::TempDir& dir) : TestDaemon(dir, SmallPool(dir)) {}
  using TestDaemon::TestDaemon;
};

template <class R>
void Do(Channel& channel, R& request) {
  ASSERT_EQ(channel.Submit(request), Status::kOk);
  Request* done = nullptr;
  while (channel.Poll({&done, 1}) == 0) ASSERT_TRUE(channel.Wait(std::chrono::seconds(60)));
  ASSERT_EQ(done, &request);
}

struct Client {
  std::unique_ptr<Pool> pool;
  std::unique_ptr<Channel> channel;
  Space space;

  explicit Client(const Config& config) {
    auto opened = Pool::Open(config);
    EXPECT_TRUE(opened) << opened.error().message;
    if (!opened) return;
    pool = std::move(*opened);
    auto made = pool->OpenChannel();
    EXPECT_TRUE(made) << made.error().message;
    if (made) channel = std::move(*made);
    auto one = pool->OpenSpace(kSpec);
    EXPECT_TRUE(one) << one.error().message;
    if (one) space = *one;
  }
  void Put(const Blocks& blocks) {
    PutRequest put;
    put.space = space;
    put.keys = blocks.keys;
    put.from = blocks.segments;
    put.ordinal = 0;
    Do(*channel, put);
    for (const Status status : put.results()) EXPECT_EQ(status, Status::kOk);
  }
  std::vector<Status> Get(const Blocks& blocks, Room& room) {
    GetRequest get;
    get.space = space;
    get.keys = blocks.keys;
    get.into = room.segments;
    Do(*channel, get);
    EXPECT_EQ(get.LayersReady(), kSpec.layers);
    return {get.results().begin(), get.results().end()};
  }
};

TEST(ServerTest, AClientStoresAndFetchesWhatAnotherSees) {
  const pool::TempDir dir;
  Daemon daemon(dir);
  Client one(daemon.client());
  const Blocks blocks("context", 20, kBlock);
  EXPECT_EQ(one.pool->Match(one.space, blocks.keys), 0u);
  one.Put(blocks);
  EXPECT_EQ(one.pool->Match(one.space, blocks.keys), 20u);

  Client other(daemon.client());
  EXPECT_EQ(other.pool->Match(other.space, blocks.keys), 20u);
  Room room(blocks);
  EXPECT_EQ(other.Get(blocks, room), std::vector(20, Status::kOk));
  EXPECT_EQ(room.bytes, blocks.bytes);

  DropRequest drop;
  drop.space = other.space;
  drop.keys = std::span(blocks.keys).subspan(3, 1);
  Do(*other.channel, drop);
  EXPECT_EQ(one.pool->Match(one.space, blocks.keys), 3u);
  EXPECT_EQ(one.pool->info().blocks, 19u);
  EXPECT_EQ(one.pool->info().devices.size(), 2u);
}

TEST(ServerTest, BytesGoInPlaceIntoMemoryOfThePool) {
  const pool::TempDir dir;
  Daemon daemon(dir);
  Client client(daemon.client());
  Blocks blocks("context", 8, kBlock);
  auto memory = client.pool->Allocate(2 * blocks.bytes.size());
  ASSERT_TRUE(memory) << memory.error().message;
  const auto bytes = (*memory)->bytes();
  std::memcpy(bytes.data(), blocks.bytes.data(), blocks.bytes.size());
  for (std::size_t i = 0; i < 8; ++i) blocks.segments[i].data = bytes.data() + i * kBlock;
  client.Put(blocks);
  std::byte* const to = bytes.data() + blocks.bytes.size();
  Room room(blocks);
  for (std::size_t i = 0; i < 8; ++i) room.segments[i].data = to + i * kBlock;
  EXPECT_EQ(client.Get(blocks, room), std::vector(8, Status::kOk));
  EXPECT_EQ(std::memcmp(to, blocks.bytes.data(), blocks.bytes.size()), 0);
}

TEST(ServerTest, ARequestThatIsCopiedInPartsIsOneRequest) {
  const pool::TempDir dir;
  Daemon daemon(dir);
  Client client(daemon.client());
  const Blocks blocks("context", 100, kBlock);  // 50 MiB: two parts
  client.Put(blocks);
  Room room(blocks);
  EXPECT_EQ(client.Get(blocks, room), std::vector(100, Status::kOk));
  EXPECT_EQ(room.bytes, blocks.bytes);
}

TEST(ServerTest, KeysThatNoBlockCanHaveAreRefusedOneByOne) {
  const pool::TempDir dir;
  Daemon daemon(dir);
  Client client(daemon.client());
  Blocks blocks("context", 3, kBlock);
  const std::string large(600, 'k');
  blocks.keys[1] = large;
  PutRequest put;
  put.space = client.space;
  put.keys = blocks.keys;
  put.from = blocks.segments;
  Do(*client.channel, put);
  EXPECT_EQ(put.result(0), Status::kOk);
  EXPECT_EQ(put.result(1), Status::kInvalid);
  EXPECT_EQ(put.result(2), Status::kOk);
}

TEST(ServerTest, ADaemonThatComesBackFindsItsClientsAgain) {
  const pool::TempDir dir;
  Daemon daemon(dir);
  Client client(daemon.client());
  const Blocks blocks("context", 10, kBlock);
  client.Put(blocks);
  daemon.Stop();
  Room room(blocks);
  EXPECT_EQ(client.Get(blocks, room), std::vector(10, Status::kCancelled));
  EXPECT_EQ(client.pool->Match(client.space, blocks.keys), 0u);
  daemon.Start();
  std::vector<Status> results;
  do {
    results = client.Get(blocks, room);
  } while (results[0] == Status::kCancelled);
  EXPECT_EQ(results, std::vector(10, Status::kOk));  // warm: a clean stop spills
  EXPECT_EQ(room.bytes, blocks.bytes);
  EXPECT_EQ(client.pool->Match(client.space, blocks.keys), 10u);
}

// A device that takes 5 ms for a block, and nothing else.
Config SlowPool() {
  Config config;
  DeviceConfig device = pool::MemoryDevice("ram", 64 * kMiB, 100e6);
  device.slow = SlowConfig{.bytes_per_s = 100e6};
  config.devices = {device};
  return config;
}

// A client with requests in flight, in the order in which they end.
struct Flight {
  Client& client;
  std::deque<Room> rooms{};
  std::deque<GetRequest> gets{};
  std::vector<Request*> done{};

  // The rooms of all requests come first: large ones take longer to make than a request to end.
  Flight(Client& of, const Blocks& blocks, int requests) : client(of) {
    for (int i = 0; i < requests; ++i) rooms.emplace_back(blocks);
  }
  GetRequest& Get(const Blocks& blocks, std::size_t count, Priority priority) {
    GetRequest& get = gets.emplace_back();
    get.space = client.space;
    get.keys = std::span(blocks.keys).first(count);
    get.into = std::span<const Segment>(rooms.at(gets.size() - 1).segments).first(count);
    get.priority = priority;
    EXPECT_EQ(client.channel->Submit(get), Status::kOk);
    return get;
  }
  void Collect() {
    Request* some[8];
    const std::size_t count = client.channel->Poll(some);
    done.insert(done.end(), some, some + count);
  }
  void WaitForOne() {
    for (const std::size_t before = done.size(); done.size() == before; Collect()) {
      ASSERT_TRUE(client.channel->Wait(std::chrono::seconds(60)));
    }
  }
};

TEST(ServerTest, AClientsFewRequestsPassTheManyOfAnother) {
  const pool::TempDir dir;
  Daemon daemon(dir, SlowPool());
  Client many(daemon.client());
  Client one(daemon.client());
  const Blocks blocks("context", 1, kBlock);
  many.Put(blocks);
  Flight load(many, blocks, 121);
  for (int i = 0; i < 60; ++i) load.Get(blocks, 1, Priority::kForeground);
  Flight few(one, blocks, 1);
  few.Get(blocks, 1, Priority::kForeground);
  few.WaitForOne();
  load.Collect();
  EXPECT_LT(load.done.size(), 50u);
  while (load.done.size() < 60) load.WaitForOne();
  // The control: as the same client's it is the last.
  for (int i = 0; i < 60; ++i) load.Get(blocks, 1, Priority::kForeground);
  GetRequest& last = load.Get(blocks, 1, Priority::kForeground);
  while (load.done.size() < 121) load.WaitForOne();
  EXPECT_EQ(load.done.back(), &last);
}

TEST(ServerTest, ARequestPassesOneOfTheBackground) {
  const pool::TempDir dir;
  Daemon daemon(dir, SlowPool());
  Client client(daemon.client());
  const Blocks blocks("context", 80, kBlock);  // 40 MiB: copied in two parts
  client.Put(blocks);
  for (const Priority priority : {Priority::kForeground, Priority::kBackground}) {
    Flight flight(client, blocks, 2);
    GetRequest& load = flight.Get(blocks, 80, priority);
    GetRequest& one = flight.Get(blocks, 1, Priority::kForeground);
    while (flight.done.size() < 2) flight.WaitForOne();
    const std::vector<Request*> in_order{&load, &one};
    const std::vector<Request*> passed{&one, &load};
    EXPECT_EQ(flight.done, priority == Priority::kForeground ? in_order : passed);
    EXPECT_EQ(load.result(79), Status::kOk);
    EXPECT_EQ(flight.rooms[0].bytes, blocks.bytes);
  }
}

TEST(ServerTest, ASecondDaemonAtTheSamePlaceIsRefused) {
  const pool::TempDir dir;
  Daemon daemon(dir);
  const auto second = Server::Listen(daemon.pool(), {.socket = daemon.client().socket});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().status, Status::kBusy);
}

TEST(ServerTest, AnAnswersDescriptorOutlivesATableThatIsOutgrown) {
  const pool::TempDir dir;
  Daemon daemon(dir);
  SharedSpaces spaces(daemon.pool());
  Grants grants(daemon.pool(), spaces, {});
  const auto opened = grants.Answer(ipc::MessageType::kOpenSpace, *ipc::EncodeSpace(kSpec), {});
  ASSERT_TRUE(opened) << opened.error().message;
  struct stat before{};
  ASSERT_EQ(::fstat(opened->descriptors.at(0), &before), 0);

  const Blocks blocks("context", 3000, 512);  // the first table holds 2048
  auto channel = daemon.pool().OpenChannel({}).value();
  PutRequest put;
  put.space = daemon.pool().OpenSpace(kSpec).value();
  put.keys = blocks.keys;
  put.from = blocks.segments;
  Do(*channel, put);

  const auto again = grants.Answer(ipc::MessageType::kOpenSpace, *ipc::EncodeSpace(kSpec), {});
  struct stat now{};
  ASSERT_EQ(::fstat(again->descriptors.at(0), &now), 0);
  ASSERT_NE(now.st_ino, before.st_ino) << "the table did not grow: this test proves nothing";
  ASSERT_EQ(::fstat(opened->descriptors.at(0), &now), 0);
  EXPECT_EQ(now.st_ino, before.st_ino);
}

TEST(ServerTest, NobodyThereIsOneSentence) {
  const pool::TempDir dir;
  Config config;
  config.socket = dir.path() / "nobody";
  const auto pool = Pool::Open(config);
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().status, Status::kNotFound);
  EXPECT_NE(pool.error().message.find("start kvpoold"), std::string::npos);
}

}  // namespace
}  // namespace kvpool::server
