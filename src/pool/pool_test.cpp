// What a user of a pool relies on, over memory and files together.
#include "kvpool/pool.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <random>
#include <set>
#include <thread>

#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

class PoolTest : public testing::Test {
 protected:
  void Open(std::uint64_t memory = 64 * kMiB, std::uint64_t file = 64 * kMiB,
            std::uint64_t unit = 256 * kKiB) {
    Config config;
    config.unit_bytes = unit;
    config.policy = "lru";
    config.create_if_missing = true;
    config.devices = {MemoryDevice("dram", memory, 2e9), FileDevice(dir_, "a", file, 1e9),
                      FileDevice(dir_, "b", file, 5e8)};
    auto pool = Pool::Open(config);
    ASSERT_TRUE(pool) << pool.error().message;
    pool_ = std::move(*pool);
    space_ = pool_->OpenSpace({.model = "m", .layers = 8}).value();
    channel_ = pool_->OpenChannel().value();
  }

  TempDir dir_;
  std::unique_ptr<Pool> pool_;
  Space space_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(PoolTest, GivesBackWhatWasPutFromEveryDevice) {
  Open();
  const Blocks blocks("c", 16, 2 * kMiB);
  EXPECT_EQ(Put(*channel_, space_, blocks), All(16, Status::kOk));
  EXPECT_EQ(pool_->Match(space_, blocks.keys), 16u);
  Room room(blocks);
  EXPECT_EQ(Get(*channel_, space_, blocks, room), All(16, Status::kOk));
  EXPECT_EQ(room.bytes, blocks.bytes);
  for (const DeviceInfo& device : pool_->info().devices) EXPECT_GT(device.bytes_read, 0u);
}

TEST_F(PoolTest, WhoMapsShareableMemoryHasWhatAGetBrings) {
  Open();
  const Blocks blocks("c", 4, 2 * kMiB);
  Put(*channel_, space_, blocks);
  EXPECT_EQ(pool_->Allocate(kMiB).value()->descriptor(), -1);
  const auto memory = pool_->Allocate(blocks.bytes.size(), -1, true).value();
  const std::size_t bytes = memory->bytes().size();
  void* const other = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, memory->descriptor(), 0);
  ASSERT_NE(other, MAP_FAILED);
  EXPECT_NE(std::memcmp(other, blocks.bytes.data(), blocks.bytes.size()), 0);
  Room room(blocks);
  for (std::size_t i = 0; i < 4; ++i) room.segments[i].data = memory->bytes().data() + i * 2 * kMiB;
  EXPECT_EQ(Get(*channel_, space_, blocks, room), All(4, Status::kOk));
  EXPECT_EQ(std::memcmp(other, blocks.bytes.data(), blocks.bytes.size()), 0);
  ::munmap(other, bytes);
}

TEST_F(PoolTest, SharesFollowBandwidth) {
  Open();
  const Blocks blocks("c", 16, 2 * kMiB);
  Put(*channel_, space_, blocks);
  const auto info = pool_->info();
  const double total = 32.0 * kMiB;
  EXPECT_NEAR(static_cast<double>(info.devices[0].bytes_written) / total, 4.0 / 7, 0.03);
  EXPECT_NEAR(static_cast<double>(info.devices[1].bytes_written) / total, 2.0 / 7, 0.03);
  EXPECT_NEAR(static_cast<double>(info.devices[2].bytes_written) / total, 1.0 / 7, 0.03);
}

TEST_F(PoolTest, TakesAnyLengthAndAlignmentInManySegments) {
  Open();
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{4095}, std::size_t{4097},
                                  std::size_t{257 * 1024}, std::size_t{1'000'003}}) {
    const std::string name = "odd" + std::to_string(bytes);
    const Key key = name;
    std::vector<std::byte> from(bytes + 1);
    for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7 + bytes);
    // From an odd address in three pieces, into an odd address in two.
    const std::size_t third = bytes / 3;
    const std::array<Segment, 3> pieces{Segment{from.data() + 1, third},
                                        Segment{from.data() + 1 + third, third},
                                        Segment{from.data() + 1 + 2 * third, bytes - 2 * third}};
    PutRequest put;
    put.space = space_;
    put.keys = {&key, 1};
    put.from = pieces;
    Complete(*channel_, put);
    ASSERT_EQ(put.result(0), Status::kOk) << bytes;

    std::vector<std::byte> into(bytes + 3, std::byte{0xee});
    const std::array<Segment, 2> halves{Segment{into.data() + 1, bytes / 2},
                                        Segment{into.data() + 1 + bytes / 2, bytes - bytes / 2}};
    GetRequest get;
    get.space = space_;
    get.keys = {&key, 1};
    get.into = halves;
    Complete(*channel_, get);
    ASSERT_EQ(get.result(0), Status::kOk) << bytes;
    EXPECT_EQ(get.block_bytes(0), bytes);
    EXPECT_EQ(std::memcmp(into.data() + 1, from.data() + 1, bytes), 0) << bytes;
    EXPECT_EQ(into[0], std::byte{0xee});
    EXPECT_EQ(into[bytes + 1], std::byte{0xee});  // not a byte beyond the block
  }
}

TEST_F(PoolTest, PutIfAbsentKeepsTheFirstBytes) {
  Open();
  const Blocks first("c", 2, 300'000, 1);
  const Blocks second("c", 2, 300'000, 2);
  Put(*channel_, space_, first);
  EXPECT_EQ(Put(*channel_, space_, second), All(2, Status::kExists));
  Room room(first);
  Get(*channel_, space_, first, room);
  EXPECT_EQ(room.bytes, first.bytes);
}

TEST_F(PoolTest, AKeyNamedTwiceInOnePutIsStoredOnce) {
  Open();
  const Blocks blocks("c", 1, 1000);
  const std::array<Key, 2> keys{blocks.keys[0], blocks.keys[0]};
  const std::array<Segment, 2> segments{blocks.segments[0], blocks.segments[0]};
  PutRequest put;
  put.space = space_;
  put.keys = keys;
  put.from = segments;
  Complete(*channel_, put);
  EXPECT_EQ(put.result(0), Status::kOk);
  EXPECT_EQ(put.result(1), Status::kExists);
  EXPECT_EQ(pool_->info().blocks, 1u);
}

TEST_F(PoolTest, AMissingKeyDoesNotSpoilTheOthers) {
  Open();
  const Blocks blocks("c", 3, kMiB);
  Put(*channel_, space_, blocks);
  EXPECT_EQ(Drop(*channel_, space_, std::span(blocks.keys).subspan(1, 1)), All(1, Status::kOk));
  EXPECT_EQ(pool_->Match(space_, blocks.keys), 1u);
  std::array<bool, 3> present{};
  pool_->Contains(space_, blocks.keys, present);
  EXPECT_EQ(present, (std::array{true, false, true}));
  Room room(blocks);
  EXPECT_EQ(Get(*channel_, space_, blocks, room),
            (std::vector{Status::kOk, Status::kNotFound, Status::kOk}));
  EXPECT_TRUE(
      std::equal(room.bytes.begin() + 2 * kMiB, room.bytes.end(), blocks.bytes.begin() + 2 * kMiB));
}

TEST_F(PoolTest, SpacesDoNotSeeEachOther) {
  Open();
  const Blocks blocks("c", 2, 1000);
  Put(*channel_, space_, blocks);
  for (const SpaceSpec& other :
       {SpaceSpec{.model = "m2", .layers = 8}, SpaceSpec{.model = "m", .rank = "1", .layers = 8},
        SpaceSpec{.model = "m", .dtype = "fp8", .layers = 8},
        SpaceSpec{.model = "m", .tenant_salt = "x", .layers = 8},
        SpaceSpec{.model = "m", .owner = "x", .layers = 8}}) {
    EXPECT_EQ(pool_->Match(pool_->OpenSpace(other).value(), blocks.keys), 0u);
  }
  EXPECT_EQ(pool_->Match(pool_->OpenSpace({.model = "m", .layers = 8}).value(), blocks.keys), 2u);
}

TEST_F(PoolTest, EvictsTheOldestAndStaysWithinCapacity) {
  Open(8 * kMiB, 8 * kMiB);
  for (int context = 0; context < 20; ++context) {
    const Blocks blocks("c" + std::to_string(context), 4, kMiB);
    EXPECT_EQ(Put(*channel_, space_, blocks), All(4, Status::kOk)) << context;
    for (const DeviceInfo& device : pool_->info().devices) {
      EXPECT_LE(device.used_bytes, device.capacity_bytes);
    }
    EXPECT_EQ(pool_->Match(space_, blocks.keys), 4u);
  }
  EXPECT_GT(pool_->info().evictions, 0u);
  EXPECT_EQ(pool_->Match(space_, Blocks("c0", 4, 1).keys), 0u);
}

TEST_F(PoolTest, APutLargerThanThePoolStoresItsHeadAndSaysNoSpaceForTheRest) {
  Open(4 * kMiB, 4 * kMiB);
  const Blocks blocks("c", 16, kMiB);
  const auto results = Put(*channel_, space_, blocks);
  const auto stored = std::count(results.begin(), results.end(), Status::kOk);
  EXPECT_EQ(stored, 12);
  EXPECT_EQ(std::count(results.begin(), results.end(), Status::kNoSpace), 16 - stored);
  EXPECT_EQ(pool_->Match(space_, blocks.keys), static_cast<std::size_t>(stored));
}

TEST_F(PoolTest, ABlockThatCanNeverFitEvictsNothing) {
  Open(4 * kMiB, 4 * kMiB);
  Put(*channel_, space_, Blocks("small", 2, kMiB));
  EXPECT_EQ(Put(*channel_, space_, Blocks("huge", 1, 64 * kMiB)), All(1, Status::kNoSpace));
  EXPECT_EQ(pool_->Match(space_, Blocks("small", 2, 1).keys), 2u);
}

TEST_F(PoolTest, ABlockThatCannotFitBesideLeasesEvictsNothing) {
  Open();
  const Blocks leased("leased", 2, 48 * kMiB);
  const Blocks others("others", 8, 2 * kMiB);
  ASSERT_EQ(Put(*channel_, space_, leased), All(2, Status::kOk));
  ASSERT_EQ(Put(*channel_, space_, others), All(8, Status::kOk));
  Room room(leased);
  GetRequest get;
  Aim(get, space_, leased, room);
  get.lease = true;
  Complete(*channel_, get);
  EXPECT_EQ(Put(*channel_, space_, Blocks("huge", 1, 110 * kMiB)), All(1, Status::kNoSpace));
  EXPECT_EQ(pool_->info().evictions, 0u);
  EXPECT_EQ(pool_->Match(space_, others.keys), 8u);
  channel_->Release(get);
  EXPECT_EQ(Put(*channel_, space_, Blocks("huge", 1, 110 * kMiB)), All(1, Status::kOk));
}

TEST_F(PoolTest, LeasesMemoryInPlaceAndHoldsItUntilRelease) {
  Open();
  const Blocks blocks("c", 4, 2 * kMiB);
  Put(*channel_, space_, blocks);
  Room room(blocks);
  GetRequest get;
  Aim(get, space_, blocks, room);
  get.lease = true;
  Complete(*channel_, get);
  const auto before = pool_->info().devices[0].used_bytes;
  Drop(*channel_, space_, blocks.keys);
  EXPECT_EQ(pool_->info().devices[0].used_bytes, before);
  std::size_t in_place = 0;
  for (std::size_t key = 0; key < 4; ++key) {
    std::vector<std::byte> seen;
    for (const Segment& view : get.views(key)) {
      seen.insert(seen.end(), view.data, view.data + view.bytes);
      const bool in_room =
          view.data >= room.bytes.data() && view.data < room.bytes.data() + room.bytes.size();
      if (!in_room) in_place += view.bytes;
    }
    EXPECT_TRUE(std::equal(seen.begin(), seen.end(), blocks.bytes.begin() + key * 2 * kMiB,
                           blocks.bytes.begin() + (key + 1) * 2 * kMiB));
  }
  EXPECT_GT(in_place, 4 * kMiB);
  channel_->Release(get);
  EXPECT_EQ(pool_->info().devices[0].used_bytes, 0u);
}

TEST_F(PoolTest, LayersBecomeReadyUpToAll) {
  Open();
  const Blocks blocks("c", 4, 2 * kMiB);
  Put(*channel_, space_, blocks);
  Room room(blocks);
  GetRequest get;
  Aim(get, space_, blocks, room);
  ASSERT_EQ(channel_->Submit(get), Status::kOk);
  std::uint32_t last = 0;
  Request* done = nullptr;
  while (channel_->Poll({&done, 1}) == 0) {
    EXPECT_GE(get.LayersReady(), last);
    last = get.LayersReady();
  }
  EXPECT_EQ(get.LayersReady(), 8u);
}

TEST_F(PoolTest, RefusesWhatBreaksALimit) {
  Open();
  const Blocks blocks("c", 2, 1000);
  GetRequest get;
  get.space = Space{77};
  get.keys = blocks.keys;
  EXPECT_EQ(channel_->Submit(get), Status::kInvalid);
  get.space = space_;
  const std::array<Segment, 3> three{};
  get.into = three;  // no whole number a key
  EXPECT_EQ(channel_->Submit(get), Status::kInvalid);
  const std::string long_name(kMaxKeyBytes + 1, 'x');
  const Key long_key = long_name;
  PutRequest put;
  put.space = space_;
  put.keys = {&long_key, 1};
  put.from = std::span(blocks.segments).first(1);
  Complete(*channel_, put);
  EXPECT_EQ(put.result(0), Status::kInvalid);
  Put(*channel_, space_, blocks);
  const std::array<Segment, 2> small{Segment{blocks.segments[0].data, 10}, blocks.segments[1]};
  get.into = small;
  Complete(*channel_, get);
  EXPECT_EQ(get.result(0), Status::kInvalid);
  EXPECT_EQ(get.result(1), Status::kOk);
}

TEST_F(PoolTest, ACallerDrivenChannelNeedsNoOtherThread) {
  Open();
  auto driven = pool_->OpenChannel({.caller_driven = true}).value();
  const Blocks blocks("c", 8, kMiB);
  EXPECT_EQ(Put(*driven, space_, blocks), All(8, Status::kOk));
  Room room(blocks);
  GetRequest get;
  Aim(get, space_, blocks, room);
  ASSERT_EQ(driven->Submit(get), Status::kOk);
  Request* done = nullptr;
  while (driven->Poll({&done, 1}) == 0) {
  }
  EXPECT_EQ(done, &get);
  EXPECT_EQ(room.bytes, blocks.bytes);
}

TEST_F(PoolTest, TheEventStaysReadableWhilePollHasSomething) {
  Open();
  std::array<DropRequest, 2> drops;
  for (DropRequest& drop : drops) {
    drop.space = space_;
    ASSERT_EQ(channel_->Submit(drop), Status::kOk);
  }
  const auto readable = [&] {
    pollfd event{channel_->event_fd(), POLLIN, 0};
    return poll(&event, 1, 0) == 1;
  };
  Request* done = nullptr;
  EXPECT_TRUE(readable());
  EXPECT_EQ(channel_->Poll({&done, 1}), 1u);
  EXPECT_TRUE(readable());
  EXPECT_EQ(channel_->Poll({&done, 1}), 1u);
  EXPECT_FALSE(readable());
}

TEST_F(PoolTest, ManyRequestsInFlightAllComeBackOnce) {
  Open();
  constexpr std::size_t kRequests = 200;
  std::vector<std::unique_ptr<Blocks>> blocks;
  std::vector<PutRequest> puts(kRequests);
  for (std::size_t i = 0; i < kRequests; ++i) {
    blocks.push_back(std::make_unique<Blocks>("r" + std::to_string(i), 2, 100'000));
    puts[i].space = space_;
    puts[i].keys = blocks[i]->keys;
    puts[i].from = blocks[i]->segments;
    ASSERT_EQ(channel_->Submit(puts[i]), Status::kOk);
  }
  std::set<Request*> seen;
  while (seen.size() < kRequests) {
    ASSERT_TRUE(channel_->Wait(std::chrono::seconds(30)));
    std::array<Request*, 7> done{};
    const std::size_t count = channel_->Poll(done);
    for (std::size_t i = 0; i < count; ++i) EXPECT_TRUE(seen.insert(done[i]).second);
  }
  Request* extra = nullptr;
  EXPECT_EQ(channel_->Poll({&extra, 1}), 0u);
}

TEST_F(PoolTest, SeveralThreadsUnderPressureNeverSeeWrongBytes) {
  Open(16 * kMiB, 16 * kMiB, 64 * kKiB);
  std::atomic<int> wrong{0};
  std::atomic<int> hits{0};
  const auto work = [&](std::uint32_t seed) {
    auto channel = pool_->OpenChannel().value();
    std::mt19937 random(seed);
    for (int round = 0; round < 60; ++round) {
      // The same context has the same bytes whoever puts it.
      const auto context = static_cast<std::uint32_t>(random() % 12);
      const Blocks blocks("s" + std::to_string(context), 1 + context % 5, 700'000, context);
      if (random() % 3 == 0) {
        Drop(*channel, space_, blocks.keys);
      }
      Put(*channel, space_, blocks);
      Room room(blocks);
      const auto results = Get(*channel, space_, blocks, room);
      for (std::size_t key = 0; key < results.size(); ++key) {
        if (results[key] != Status::kOk) continue;
        ++hits;
        wrong += std::memcmp(room.segments[key].data, blocks.segments[key].data, 700'000) != 0;
      }
    }
  };
  std::vector<std::thread> threads;
  for (std::uint32_t seed = 0; seed < 4; ++seed) threads.emplace_back(work, seed);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(hits, 100);
  EXPECT_EQ(pool_->info().devices[1].checksum_failures, 0u);
}

}  // namespace
}  // namespace kvpool::pool
