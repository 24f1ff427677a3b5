// Real threads over a small pool with bad drives: for the sanitizers, and for wrong bytes.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "pool/pool_impl.h"
#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

constexpr int kThreads = 4;
constexpr int kRequests = 250;  // of a thread
constexpr std::uint32_t kContexts = 24;
constexpr std::size_t kBlocks = 6;
constexpr std::size_t kBlockBytes = 300 * kKiB + 123;

// Every thread puts the same bytes under a key, so whoever reads it knows them.
Blocks ContextOf(std::uint32_t number) {
  return {"c" + std::to_string(number), kBlocks, kBlockBytes, number + 1};
}

struct Tally {
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> found{0};
  std::atomic<std::uint64_t> unexpected{0};  // results that a request never has
};

// One thread's channel and what it holds.
class Client {
 public:
  Client(Pool& pool, Space space, std::uint32_t seed, Tally& tally)
      : space_(space), tally_(tally), random_(seed), channel_(pool.OpenChannel({}).value()) {}
  ~Client() { LetGo(); }

  void Step() {
    const Blocks blocks = ContextOf(static_cast<std::uint32_t>(random_() % kContexts));
    switch (random_() % 8) {
      case 0:
      case 1:
      case 2:
        Note(Put(*channel_, space_, blocks, random_() % 4 == 0),
             {Status::kOk, Status::kExists, Status::kNoSpace, Status::kIoError, Status::kTimedOut});
        break;
      case 3:
      case 4:
        Read(blocks);
        break;
      case 5:
        Note(Drop(*channel_, space_, std::span(blocks.keys).first(1 + random_() % kBlocks)),
             {Status::kOk, Status::kNotFound});
        break;
      case 6:
        Flush(blocks);
        break;
      default:
        lease_ ? LetGo() : Hold(blocks);
    }
  }

 private:
  void Note(const std::vector<Status>& results, std::initializer_list<Status> expected) {
    for (const Status status : results) {
      if (std::find(expected.begin(), expected.end(), status) == expected.end()) {
        ++tally_.unexpected;
      }
    }
  }

  void Read(const Blocks& blocks) {
    Room room(blocks);
    const std::vector<Status> results = Get(*channel_, space_, blocks, room);
    Note(results, {Status::kOk, Status::kNotFound, Status::kTimedOut});
    for (std::size_t i = 0; i < kBlocks; ++i) {
      if (results[i] == Status::kOk) Compare(blocks, i, {&room.segments[i], 1});
    }
  }

  void Flush(const Blocks& blocks) {
    FlushRequest flush;
    flush.space = space_;
    flush.keys = blocks.keys;
    Complete(*channel_, flush);
    Note({flush.results().begin(), flush.results().end()},
         {Status::kOk, Status::kNotFound, Status::kIoError, Status::kUnsupported, Status::kNoSpace,
          Status::kTimedOut});
  }

  void Hold(const Blocks& blocks) {
    held_ = std::make_unique<Blocks>(blocks.names[0].substr(0, blocks.names[0].find('/')), kBlocks,
                                     kBlockBytes, 0);
    room_ = std::make_unique<Room>(*held_);
    lease_ = std::make_unique<GetRequest>();
    Aim(*lease_, space_, *held_, *room_);
    lease_->lease = true;
    Complete(*channel_, *lease_);
    expected_ = blocks.bytes;
  }

  void LetGo() {
    if (!lease_) return;
    for (std::size_t i = 0; i < kBlocks; ++i) {
      if (lease_->result(i) != Status::kOk) continue;
      std::size_t at = i * kBlockBytes;
      for (const Segment& view : lease_->views(i)) {
        if (!std::equal(view.data, view.data + view.bytes, expected_.begin() + at)) ++tally_.wrong;
        at += view.bytes;
      }
      if (at != (i + 1) * kBlockBytes) ++tally_.wrong;
    }
    channel_->Release(*lease_);
    lease_.reset();
  }

  void Compare(const Blocks& blocks, std::size_t block, std::span<const Segment> got) {
    ++tally_.found;
    const Segment& put = blocks.segments[block];
    if (!std::equal(put.data, put.data + put.bytes, got[0].data)) ++tally_.wrong;
  }

  const Space space_;
  Tally& tally_;
  std::mt19937 random_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<Blocks> held_;
  std::unique_ptr<Room> room_;
  std::unique_ptr<GetRequest> lease_;
  std::vector<std::byte> expected_;
};

// Less room than the contexts need, so that blocks are evicted all the time.
Config SmallPool(const TempDir& dir, const std::string& faults) {
  Config config;
  config.catalog = dir.path() / "catalog";
  config.devices = {FileDevice(dir, "a", 14 * kMiB), FileDevice(dir, "b", 10 * kMiB),
                    MemoryDevice("dram", 8 * kMiB)};
  config.devices[1].faults = faults;
  return config;
}

void Stress(const std::string& faults, Tally& tally) {
  const TempDir dir;
  const Config config = SmallPool(dir, faults);
  ASSERT_TRUE(Pool::Create(config));
  const auto pool = PoolImpl::Open(config, Clock::Monotonic());
  ASSERT_TRUE(pool) << pool.error().message;
  const Space space = (*pool)->OpenSpace({.model = "m", .layers = 3}).value();
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      Client client(**pool, space, i, tally);
      for (int n = 0; n < kRequests; ++n) client.Step();
    });
  }
  // Whoever looks meanwhile disturbs nobody.
  std::thread looker([&] {
    const Blocks blocks = ContextOf(0);
    for (int n = 0; n < kRequests; ++n) {
      (void)(*pool)->info();
      EXPECT_LE((*pool)->Match(space, blocks.keys), kBlocks);
    }
  });
  for (std::thread& thread : threads) thread.join();
  looker.join();
  EXPECT_GT((*pool)->info().evictions, 0u);
  const auto channel = (*pool)->OpenChannel({}).value();
  for (std::uint32_t i = 0; i < kContexts; ++i) Drop(*channel, space, ContextOf(i).keys);
  FlushRequest all;
  all.space = space;
  Complete(*channel, all);
  EXPECT_EQ((*pool)->audit().pinned_bytes, 0u);
  for (const DeviceInfo& device : (*pool)->info().devices) EXPECT_EQ(device.used_bytes, 0u);
}

TEST(PoolStress, GoodDevicesGiveTheirBytesToEveryThread) {
  Tally tally;
  Stress("", tally);
  EXPECT_EQ(tally.wrong, 0u);
  EXPECT_EQ(tally.unexpected, 0u);
  EXPECT_GT(tally.found, 0u);
}

TEST(PoolStress, ABadDriveCostsBlocksAndNeverAByte) {
  Tally tally;
  Stress(
      "read.error chance=0.02; read.flip chance=0.02; write.short chance=0.02; "
      "write.error chance=0.01",
      tally);
  EXPECT_EQ(tally.wrong, 0u);
  EXPECT_EQ(tally.unexpected, 0u);
  EXPECT_GT(tally.found, 0u);
}

}  // namespace
}  // namespace kvpool::pool
