// Leases through a daemon: views of its memory, and what a client can and cannot do with these.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include "ipc/client.h"
#include "pool/test_pool.h"
#include "server/test_daemon.h"

namespace kvpool::server {
namespace {

using pool::All;
using pool::Blocks;
using pool::Complete;
using pool::Put;
using pool::Room;

constexpr std::size_t kBlock = 512 * kKiB;
constexpr std::size_t kMemory = 32 * kMiB;
const SpaceSpec kSpec{.model = "m", .dtype = "bf16", .layers = 4};

Config MemoryOnly() {
  Config config;
  config.devices = {pool::MemoryDevice("ram", kMemory)};
  return config;
}

Config MemoryAndFile(const pool::TempDir& dir) {
  Config config = MemoryOnly();
  config.devices.push_back(pool::FileDevice(dir, "ssd", 64 * kMiB));
  return config;
}

struct Client {
  std::unique_ptr<Pool> pool;
  std::unique_ptr<Channel> channel;
  Space space;

  explicit Client(const Config& config, const SpaceSpec& spec = kSpec)
      : pool(Pool::Open(config).value()),
        channel(pool->OpenChannel().value()),
        space(pool->OpenSpace(spec).value()) {}
  void Lease(GetRequest& get, const Blocks& blocks, Room& room) const {
    pool::Aim(get, space, blocks, room);
    get.lease = true;
    Complete(*channel, get);
  }
};

std::vector<std::byte> BytesOf(const GetRequest& get, std::size_t key) {
  std::vector<std::byte> bytes;
  for (const Segment& view : get.views(key)) {
    bytes.insert(bytes.end(), view.data, view.data + view.bytes);
  }
  return bytes;
}

std::vector<std::byte> BytesOf(const Blocks& blocks, std::size_t key) {
  const auto* begin = blocks.bytes.data() + key * blocks.block_bytes;
  return {begin, begin + blocks.block_bytes};
}

bool Within(const Segment& view, std::span<const std::byte> room) {
  return view.data >= room.data() && view.data < room.data() + room.size();
}

// Of the keys of a lease, those with a view outside of the caller's own memory.
std::size_t InPlace(const GetRequest& get, std::span<const std::byte> room) {
  std::size_t count = 0;
  for (std::size_t key = 0; key < get.keys.size(); ++key) {
    if (get.result(key) != Status::kOk) continue;
    const auto views = get.views(key);
    count += std::any_of(views.begin(), views.end(),
                         [&](const Segment& view) { return !Within(view, room); })
                 ? 1
                 : 0;
  }
  return count;
}

void ExpectStored(const GetRequest& get, const Blocks& blocks) {
  for (std::size_t key = 0; key < blocks.keys.size(); ++key) {
    ASSERT_EQ(get.result(key), Status::kOk);
    EXPECT_EQ(BytesOf(get, key), BytesOf(blocks, key)) << key;
  }
}

bool IsZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](auto byte) { return byte == std::byte{0}; });
}

// Until it is so, for as long as a busy machine may take.
bool Becomes(const std::function<bool()>& so) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(120);
  while (!so()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

class LeasesServerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!Lends()) GTEST_SKIP() << "memory is on reserved hugepages";
  }
  static bool Lends() {
    const auto pool = pool::PoolImpl::Open(MemoryOnly(), Clock::Monotonic(), pool::LogOnStderr,
                                           pool::Lending::kToClients);
    return pool && (*pool)->Lent((*pool)->OpenSpace(kSpec).value())[0] != nullptr;
  }

  pool::TempDir dir_;
  const Blocks blocks_{"context", 8, kBlock};
  Room room_{blocks_};
};

TEST_F(LeasesServerTest, ViewsAreOfTheDaemonsMemoryAndNothingIsCopied) {
  TestDaemon daemon(dir_, MemoryOnly());
  const Client client(daemon.client());
  ASSERT_EQ(Put(*client.channel, client.space, blocks_), All(8, Status::kOk));
  GetRequest get;
  client.Lease(get, blocks_, room_);
  ExpectStored(get, blocks_);
  EXPECT_EQ(InPlace(get, room_.bytes), 8u);
  EXPECT_TRUE(IsZero(room_.bytes));
  EXPECT_EQ(get.LayersReady(), kSpec.layers);
  EXPECT_EQ(daemon.pool().audit().pinned_bytes, 8 * kBlock);
  client.channel->Release(get);
  client.channel->Release(get);
  EXPECT_TRUE(Becomes([&] { return daemon.pool().audit().pinned_bytes == 0; }));
  get.lease = false;  // the control: a get as any writes there
  Complete(*client.channel, get);
  EXPECT_EQ(room_.bytes, blocks_.bytes);
}

TEST_F(LeasesServerTest, WhatLiesInMemoryNeedsNoRoom) {
  TestDaemon daemon(dir_, MemoryOnly());
  const Client client(daemon.client());
  ASSERT_EQ(Put(*client.channel, client.space, blocks_), All(8, Status::kOk));
  GetRequest get;
  get.space = client.space;
  get.keys = blocks_.keys;
  get.lease = true;
  Complete(*client.channel, get);
  ExpectStored(get, blocks_);
}

TEST_F(LeasesServerTest, UnitsOnDrivesLandWhereTheyBelong) {
  TestDaemon daemon(dir_, MemoryAndFile(dir_));
  const Client client(daemon.client());
  const Blocks blocks("context", 20, 2 * kMiB - 4096);  // more than one part, when it is copied
  ASSERT_EQ(Put(*client.channel, client.space, blocks), All(20, Status::kOk));
  Room own(blocks);
  GetRequest get;
  client.Lease(get, blocks, own);
  ExpectStored(get, blocks);
  const std::size_t in_place = InPlace(get, own.bytes);
  EXPECT_GT(in_place, 0u);
  EXPECT_FALSE(IsZero(own.bytes));
  client.channel->Release(get);

  // Straight into memory of the pool's.
  const auto memory = client.pool->Allocate(blocks.bytes.size()).value();
  Room shared(blocks);
  for (std::size_t i = 0; i < blocks.keys.size(); ++i) {
    shared.segments[i].data = memory->bytes().data() + i * blocks.block_bytes;
  }
  client.Lease(get, blocks, shared);
  ExpectStored(get, blocks);
  EXPECT_GT(InPlace(get, memory->bytes()), 0u);
  client.channel->Release(get);
}

TEST_F(LeasesServerTest, AWriteToAViewEndsTheClientAndChangesNothing) {
  TestDaemon daemon(dir_, MemoryOnly());
  const Client client(daemon.client());
  ASSERT_EQ(Put(*client.channel, client.space, blocks_), All(8, Status::kOk));
  GetRequest get;
  client.Lease(get, blocks_, room_);
  ASSERT_EQ(get.result(0), Status::kOk);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);  // a sanitizer would report it
    *get.views(0)[0].data = std::byte{1};
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
  ExpectStored(get, blocks_);
}

TEST_F(LeasesServerTest, LeasedBlocksStayWhileOthersGo) {
  TestDaemon daemon(dir_, MemoryOnly());
  const Client client(daemon.client());
  ASSERT_EQ(Put(*client.channel, client.space, blocks_), All(8, Status::kOk));
  GetRequest get;
  client.Lease(get, blocks_, room_);
  const Blocks more("more", 50, kBlock, 2);
  const Blocks yet_more("yet more", 50, kBlock, 4);  // than there is room for
  Put(*client.channel, client.space, more);
  Put(*client.channel, client.space, yet_more);
  EXPECT_GT(client.pool->info().evictions, 0u);
  ExpectStored(get, blocks_);
  client.channel->Release(get);
  // Releases come before what is asked after them.
  const Blocks others("others", 100, kBlock, 3);
  Put(*client.channel, client.space, others);
  EXPECT_EQ(client.pool->Match(client.space, blocks_.keys), 0u);
}

TEST_F(LeasesServerTest, WhatIsBeyondItsBoundIsCopied) {
  TestDaemon daemon(dir_, MemoryOnly());
  const Client client(daemon.client());
  const Blocks blocks("context", 40, kBlock);  // 20 of 32 MiB
  ASSERT_EQ(Put(*client.channel, client.space, blocks), All(40, Status::kOk));
  Room room(blocks);
  GetRequest get;
  client.Lease(get, blocks, room);
  ExpectStored(get, blocks);
  EXPECT_EQ(InPlace(get, room.bytes) * kBlock, kMemory / 4);
  EXPECT_EQ(daemon.pool().audit().pinned_bytes, kMemory / 4);
  {
    const Client second(daemon.client());
    const Client third(daemon.client());
    Room second_room(blocks), third_room(blocks);
    GetRequest second_get, third_get;
    second.Lease(second_get, blocks, second_room);
    third.Lease(third_get, blocks, third_room);
    ExpectStored(second_get, blocks);
    ExpectStored(third_get, blocks);
    EXPECT_EQ(InPlace(second_get, second_room.bytes) * kBlock, kMemory / 4);
    EXPECT_EQ(InPlace(third_get, third_room.bytes), 0u) << "the other two have half";
  }
  client.channel->Release(get);
  client.Lease(get, blocks, room);
  ExpectStored(get, blocks);
  EXPECT_EQ(InPlace(get, room.bytes) * kBlock, kMemory / 4);
}

TEST_F(LeasesServerTest, LeasesOfManyKeysAreNoMoreThanTheDaemonRemembers) {
  TestDaemon daemon(dir_, MemoryOnly());
  const Client client(daemon.client());
  const Blocks one("context", 1, 64 * kKiB);
  ASSERT_EQ(Put(*client.channel, client.space, one), All(1, Status::kOk));
  const auto memory = client.pool->Allocate(2 * kMiB).value();
  std::vector<Key> keys(kMaxBatchKeys, "absent");
  keys.back() = one.keys[0];
  const std::vector<Segment> segments(keys.size(), {memory->bytes().data(), 64 * kKiB});
  constexpr std::size_t kMost = ipc::kMaxChannelLeaseKeys / kMaxBatchKeys;
  std::vector<GetRequest> gets(kMost + 2);
  for (GetRequest& get : gets) {
    get.space = client.space;
    get.keys = keys;
    get.into = segments;
    get.lease = true;
  }
  const auto is_in_place = [&](GetRequest& get) {
    Complete(*client.channel, get);
    const auto views = get.views(keys.size() - 1);
    EXPECT_EQ(views.size(), 1u);
    EXPECT_EQ(std::memcmp(views[0].data, one.bytes.data(), one.block_bytes), 0);
    return !Within(views[0], memory->bytes());
  };
  for (std::size_t i = 0; i < kMost; ++i) EXPECT_TRUE(is_in_place(gets[i])) << i;
  EXPECT_FALSE(is_in_place(gets[kMost]));
  client.channel->Release(gets[0]);
  EXPECT_TRUE(is_in_place(gets[kMost + 1]));
}

TEST_F(LeasesServerTest, ReleasesGiveTheirSlotsBack) {
  TestDaemon daemon(dir_, MemoryOnly());
  const Client client(daemon.client());
  const Blocks one("context", 1, 4 * kKiB);
  ASSERT_EQ(Put(*client.channel, client.space, one), All(1, Status::kOk));
  Room room(one);
  std::vector<GetRequest> gets(250);          // as many as the bound has slots for
  for (int round = 0; round < 12; ++round) {  // more than there are slots in the ring
    for (GetRequest& get : gets) {
      client.Lease(get, one, room);
      ASSERT_EQ(InPlace(get, room.bytes), 1u);
    }
    for (GetRequest& get : gets) client.channel->Release(get);
    ASSERT_TRUE(Becomes([&] { return daemon.pool().audit().pinned_bytes == 0; }));
  }
}

TEST_F(LeasesServerTest, AKilledClientsLeasesGoWithIt) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  Config file;
  file.socket = dir_.path() / "s";
  const pid_t child = ::fork();  // before there are threads
  if (child == 0) {
    char word = 0;
    if (::read(pair[1], &word, 1) != 1) ::_exit(1);
    const Client client(file);
    GetRequest get;
    client.Lease(get, blocks_, room_);
    word = InPlace(get, room_.bytes) == 8 ? 'y' : 'n';
    if (::write(pair[1], &word, 1) != 1 || ::read(pair[1], &word, 1) >= 0) ::_exit(1);
    ::_exit(0);
  }
  TestDaemon daemon(dir_, MemoryOnly());
  const Client other(daemon.client());
  ASSERT_EQ(Put(*other.channel, other.space, blocks_), All(8, Status::kOk));
  char word = 'g';
  ASSERT_EQ(::write(pair[0], &word, 1), 1);
  ASSERT_EQ(::read(pair[0], &word, 1), 1);
  EXPECT_EQ(word, 'y');
  EXPECT_EQ(daemon.pool().audit().pinned_bytes, 8 * kBlock);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(Becomes([&] { return daemon.pool().audit().pinned_bytes == 0; }));
  const Blocks more("more", 100, kBlock, 2);
  Put(*other.channel, other.space, more);
  EXPECT_EQ(other.pool->Match(other.space, blocks_.keys), 0u);
  ::close(pair[0]);
  ::close(pair[1]);
}

TEST_F(LeasesServerTest, ViewsStayWhenTheDaemonGoesAndTheNextOneLeasesAnew) {
  TestDaemon daemon(dir_, MemoryOnly());
  const Client client(daemon.client());
  ASSERT_EQ(Put(*client.channel, client.space, blocks_), All(8, Status::kOk));
  GetRequest get;
  client.Lease(get, blocks_, room_);
  daemon.Stop();
  ExpectStored(get, blocks_);
  daemon.Start();
  ASSERT_TRUE(Becomes(
      [&] { return Put(*client.channel, client.space, blocks_)[0] != Status::kCancelled; }));
  GetRequest again;
  client.Lease(again, blocks_, room_);
  ExpectStored(again, blocks_);
  EXPECT_EQ(InPlace(again, room_.bytes), 8u);
  client.channel->Release(get);  // of a daemon that is not there any more
  EXPECT_EQ(daemon.pool().audit().pinned_bytes, 8 * kBlock);
  client.channel->Release(again);
  EXPECT_TRUE(Becomes([&] { return daemon.pool().audit().pinned_bytes == 0; }));
}

// What a client maps of a space, by the protocol alone.
struct Borrower {
  std::unique_ptr<ipc::Client> client;
  std::shared_ptr<const ipc::LentMemories> lent;

  Borrower(const Config& config, const SpaceSpec& spec)
      : client(ipc::Client::Connect(config.socket).value()),
        lent(client->LentBy(client->connection(), client->OpenSpace(spec).value())) {}
  std::span<const std::byte> bytes() const { return lent->at(0)->bytes(); }
  bool Has(const Blocks& blocks) const {
    const auto some = std::span(blocks.bytes).first(4096);
    return std::search(bytes().begin(), bytes().end(), some.begin(), some.end()) != bytes().end();
  }
};

TEST_F(LeasesServerTest, MemoryThatGoesToAnotherSpaceShowsNothingOfTheFormer) {
  TestDaemon daemon(dir_, MemoryOnly());
  const SpaceSpec other_spec{.model = "other", .dtype = "bf16", .layers = 4};
  const Client client(daemon.client());
  const Client other(daemon.client(), other_spec);
  ASSERT_EQ(Put(*client.channel, client.space, blocks_), All(8, Status::kOk));
  const Borrower one(daemon.client(), kSpec);
  const Borrower two(daemon.client(), other_spec);
  EXPECT_TRUE(one.Has(blocks_));
  EXPECT_FALSE(two.Has(blocks_));
  const Blocks others("others", 64, kBlock, 2);  // all of the memory
  ASSERT_EQ(Put(*other.channel, other.space, others), All(64, Status::kOk));
  EXPECT_EQ(client.pool->Match(client.space, blocks_.keys), 0u);
  EXPECT_TRUE(two.Has(others));
  EXPECT_FALSE(two.Has(blocks_));
  EXPECT_TRUE(IsZero(one.bytes()));
}

TEST_F(LeasesServerTest, ATenantCannotMapWhatAnotherHas) {
  Config config = MemoryOnly();
  config.tenants = {{.name = "a", .users = {"1001"}, .readers = {"c"}},
                    {.name = "b", .users = {"1002"}},
                    {.name = "c", .users = {"1003"}}};
  Peer next{.pid = ::getpid(), .uid = 1001, .gid = 9};
  TestDaemon daemon(dir_, config, {.peer = [&](int) { return next; }});
  const Client owner(daemon.client());
  ASSERT_EQ(Put(*owner.channel, owner.space, blocks_), All(8, Status::kOk));
  SpaceSpec of_a = kSpec;
  of_a.owner = "a";
  const Borrower own(daemon.client(), kSpec);
  EXPECT_TRUE(own.Has(blocks_));
  next.uid = 1002;
  const Borrower stranger(daemon.client(), of_a);
  EXPECT_TRUE(IsZero(stranger.bytes()));
  next.uid = 1003;
  const Borrower reader(daemon.client(), of_a);
  EXPECT_TRUE(reader.Has(blocks_));
  // By a number that is not the client's.
  const ipc::Named question{.id = 77};
  const auto answer =
      stranger.client->connection()->Ask(ipc::MessageType::kLentMemory, ipc::BytesOf(question));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().status, Status::kInvalid);
}

}  // namespace
}  // namespace kvpool::server
