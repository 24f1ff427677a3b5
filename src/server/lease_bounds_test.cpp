// Leases through a daemon: what a client must not see, change, hold or leave behind.
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "ipc/client.h"
#include "server/test_leases.h"

namespace kvpool::server {
namespace {

using pool::All;
using pool::Blocks;
using pool::Complete;
using pool::Room;

TEST_F(StoredLeaseTest, AWriteToAViewEndsTheClientAndChangesNothing) {
  client_->Lease(get_, blocks_, room_);
  ASSERT_EQ(get_.result(0), Status::kOk);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);  // a sanitizer would report it
    *get_.views(0)[0].data = std::byte{1};
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
  ExpectStored(get_, blocks_);
}

TEST_F(StoredLeaseTest, WhatIsBeyondItsBoundIsCopied) {
  const Blocks blocks("long", 40, kBlockBytes);  // 20 of 32 MiB
  ASSERT_EQ(client_->Put(blocks), All(40, Status::kOk));
  Room room(blocks);
  client_->Lease(get_, blocks, room);
  ExpectStored(get_, blocks);
  EXPECT_EQ(InPlace(get_, room.bytes) * kBlockBytes, kMemoryBytes / 4);
  EXPECT_EQ(pinned_bytes(), kMemoryBytes / 4);
  {
    const LeaseClient second = ClientOf(*daemon_);
    const LeaseClient third = ClientOf(*daemon_);
    Room second_room(blocks), third_room(blocks);
    GetRequest second_get, third_get;
    second.Lease(second_get, blocks, second_room);
    third.Lease(third_get, blocks, third_room);
    ExpectStored(second_get, blocks);
    ExpectStored(third_get, blocks);
    EXPECT_EQ(InPlace(second_get, second_room.bytes) * kBlockBytes, kMemoryBytes / 4);
    EXPECT_EQ(InPlace(third_get, third_room.bytes), 0u) << "the other two have half";
  }
  client_->channel->Release(get_);
  client_->Lease(get_, blocks, room);
  ExpectStored(get_, blocks);
  EXPECT_EQ(InPlace(get_, room.bytes) * kBlockBytes, kMemoryBytes / 4);
}

TEST_F(StoredLeaseTest, OfManyKeysTheyAreNoMoreThanTheDaemonRemembers) {
  const Blocks one("one", 1, 64 * kKiB);
  ASSERT_EQ(client_->Put(one), All(1, Status::kOk));
  const auto memory = client_->pool->Allocate(2 * kMiB).value();
  std::vector<Key> keys(kMaxBatchKeys, "absent");
  keys.back() = one.keys[0];
  const std::vector<Segment> segments(keys.size(), {memory->bytes().data(), 64 * kKiB});
  constexpr std::size_t kMost = ipc::kMaxChannelLeaseKeys / kMaxBatchKeys;
  std::vector<GetRequest> gets(kMost + 2);
  for (GetRequest& get : gets) {
    get.space = client_->space;
    get.keys = keys;
    get.into = segments;
    get.lease = true;
  }
  const auto is_in_place = [&](GetRequest& get) {
    Complete(*client_->channel, get);
    const auto views = get.views(keys.size() - 1);
    EXPECT_EQ(views.size(), 1u);
    EXPECT_EQ(std::memcmp(views[0].data, one.bytes.data(), one.block_bytes), 0);
    return !Within(views[0], memory->bytes());
  };
  for (std::size_t i = 0; i < kMost; ++i) EXPECT_TRUE(is_in_place(gets[i])) << i;
  EXPECT_FALSE(is_in_place(gets[kMost]));
  client_->channel->Release(gets[0]);
  EXPECT_TRUE(is_in_place(gets[kMost + 1]));
}

TEST_F(LeaseTest, AKilledClientsLeasesGoWithIt) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  Config file;
  file.socket = dir_.path() / "s";
  const pid_t child = ::fork();  // before there are threads
  if (child == 0) {
    char word = 0;
    if (::read(pair[1], &word, 1) != 1) ::_exit(1);
    const LeaseClient client(file, Spec());
    GetRequest get;
    client.Lease(get, blocks_, room_);
    word = InPlace(get, room_.bytes) == 8 ? 'y' : 'n';
    if (::write(pair[1], &word, 1) != 1 || ::read(pair[1], &word, 1) >= 0) ::_exit(1);
    ::_exit(0);
  }
  TestDaemon daemon(dir_, MemoryOnly());
  const LeaseClient other = ClientOf(daemon);
  ASSERT_EQ(other.Put(blocks_), All(8, Status::kOk));
  char word = 'g';
  ASSERT_EQ(::write(pair[0], &word, 1), 1);
  ASSERT_EQ(::read(pair[0], &word, 1), 1);
  EXPECT_EQ(word, 'y');
  EXPECT_EQ(daemon.pool().audit().pinned_bytes, 8 * kBlockBytes);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(NothingIsPinned(daemon));
  other.Put(Blocks("more", 100, kBlockBytes, 2));
  EXPECT_EQ(other.pool->Match(other.space, blocks_.keys), 0u);
  ::close(pair[0]);
  ::close(pair[1]);
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

TEST_F(StoredLeaseTest, MemoryThatGoesToAnotherSpaceShowsNothingOfTheFormer) {
  const SpaceSpec other_spec{.model = "other", .dtype = "bf16", .layers = 4};
  const LeaseClient other = ClientOf(*daemon_, other_spec);
  const Borrower one(daemon_->client(), Spec());
  const Borrower two(daemon_->client(), other_spec);
  EXPECT_TRUE(one.Has(blocks_));
  EXPECT_FALSE(two.Has(blocks_));
  const Blocks others("others", 64, kBlockBytes, 2);  // all of the memory
  ASSERT_EQ(other.Put(others), All(64, Status::kOk));
  EXPECT_EQ(client_->pool->Match(client_->space, blocks_.keys), 0u);
  EXPECT_TRUE(two.Has(others));
  EXPECT_FALSE(two.Has(blocks_));
  EXPECT_TRUE(IsZero(one.bytes()));
}

TEST_F(LeaseTest, ATenantCannotMapWhatAnotherHas) {
  Config config = MemoryOnly();
  config.tenants = {{.name = "a", .users = {"1001"}, .readers = {"c"}},
                    {.name = "b", .users = {"1002"}},
                    {.name = "c", .users = {"1003"}}};
  Peer next{.pid = ::getpid(), .uid = 1001, .gid = 9};
  TestDaemon daemon(dir_, config, {.peer = [&](int) { return next; }});
  const LeaseClient owner = ClientOf(daemon);
  ASSERT_EQ(owner.Put(blocks_), All(8, Status::kOk));
  SpaceSpec of_a = Spec();
  of_a.owner = "a";
  const Borrower own(daemon.client(), Spec());
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
