// Leases through a daemon: what a client sees of its memory, and for how long.
#include "server/test_leases.h"

namespace kvpool::server {
namespace {

using pool::All;
using pool::Blocks;
using pool::Complete;
using pool::Room;

TEST_F(StoredLeaseTest, ViewsAreOfTheDaemonsMemoryAndNothingIsCopied) {
  client_->Lease(get_, blocks_, room_);
  ExpectStored(get_, blocks_);
  EXPECT_EQ(InPlace(get_, room_.bytes), 8u);
  EXPECT_TRUE(IsZero(room_.bytes));
  EXPECT_EQ(get_.LayersReady(), Spec().layers);
  EXPECT_EQ(pinned_bytes(), 8 * kBlockBytes);
  client_->channel->Release(get_);
  client_->channel->Release(get_);
  EXPECT_TRUE(NothingIsPinned());
  get_.lease = false;  // the control: a get as any writes there
  Complete(*client_->channel, get_);
  EXPECT_EQ(room_.bytes, blocks_.bytes);
}

TEST_F(StoredLeaseTest, WhatLiesInMemoryNeedsNoRoom) {
  get_.space = client_->space;
  get_.keys = blocks_.keys;
  get_.lease = true;
  Complete(*client_->channel, get_);
  ExpectStored(get_, blocks_);
}

TEST_F(LeaseTest, UnitsOnDrivesLandWhereTheyBelong) {
  Config config = MemoryOnly();
  config.devices.push_back(pool::FileDevice(dir_, "ssd", 64 * kMiB));
  TestDaemon daemon(dir_, config);
  const LeaseClient client = ClientOf(daemon);
  const Blocks blocks("context", 20, 2 * kMiB - 4096);  // more than one part, when it is copied
  ASSERT_EQ(client.Put(blocks), All(20, Status::kOk));
  Room own(blocks);
  GetRequest get;
  client.Lease(get, blocks, own);
  ExpectStored(get, blocks);
  EXPECT_GT(InPlace(get, own.bytes), 0u);
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

TEST_F(StoredLeaseTest, LeasedBlocksStayWhileOthersGo) {
  client_->Lease(get_, blocks_, room_);
  client_->Put(Blocks("more", 50, kBlockBytes, 2));
  client_->Put(Blocks("yet more", 50, kBlockBytes, 4));  // than there is room for
  EXPECT_GT(client_->pool->info().evictions, 0u);
  ExpectStored(get_, blocks_);
  client_->channel->Release(get_);
  // Releases come before what is asked after them.
  client_->Put(Blocks("others", 100, kBlockBytes, 3));
  EXPECT_EQ(client_->pool->Match(client_->space, blocks_.keys), 0u);
}

TEST_F(StoredLeaseTest, ReleasesGiveTheirSlotsBack) {
  const Blocks one("one", 1, 4 * kKiB);
  ASSERT_EQ(client_->Put(one), All(1, Status::kOk));
  Room room(one);
  std::vector<GetRequest> gets(250);          // as many as the bound has slots for
  for (int round = 0; round < 12; ++round) {  // more than there are slots in the ring
    for (GetRequest& get : gets) {
      client_->Lease(get, one, room);
      ASSERT_EQ(InPlace(get, room.bytes), 1u);
    }
    for (GetRequest& get : gets) client_->channel->Release(get);
    ASSERT_TRUE(NothingIsPinned());
  }
}

TEST_F(StoredLeaseTest, ViewsStayWhenTheDaemonGoesAndTheNextOneLeasesAnew) {
  client_->Lease(get_, blocks_, room_);
  daemon_->Stop();
  ExpectStored(get_, blocks_);
  daemon_->Start();
  ASSERT_TRUE(Becomes([&] { return client_->Put(blocks_)[0] != Status::kCancelled; }));
  GetRequest again;
  client_->Lease(again, blocks_, room_);
  ExpectStored(again, blocks_);
  EXPECT_EQ(InPlace(again, room_.bytes), 8u);
  client_->channel->Release(get_);  // of a daemon that is not there any more
  EXPECT_EQ(pinned_bytes(), 8 * kBlockBytes);
  client_->channel->Release(again);
  EXPECT_TRUE(NothingIsPinned());
}

}  // namespace
}  // namespace kvpool::server
