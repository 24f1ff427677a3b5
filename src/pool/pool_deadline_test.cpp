// Devices that do not let go: requests end all the same, and what comes late changes nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "device/open.h"
#include "pool/pool_impl.h"
#include "pool/test_pool.h"

namespace kvpool::pool {
namespace {

using std::chrono::milliseconds;

// Stands still until told. Threads: any.
class TestClock final : public Clock {
 public:
  std::int64_t NowNs() const override { return now_ns_.load(); }
  void Advance(milliseconds time) { now_ns_ += std::chrono::nanoseconds(time).count(); }

 private:
  std::atomic<std::int64_t> now_ns_{1'000'000'000};
};

struct Freed {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using Aligned = std::unique_ptr<std::byte, Freed>;

Aligned PlainMemory(std::size_t bytes) {
  return Aligned(static_cast<std::byte*>(std::aligned_alloc(4096, bytes)));
}

class PoolDeadlineTest : public testing::Test {
 protected:
  // Two devices that answer at once; `faults` is the script of the second.
  void Open(const std::string& faults) {
    Config config;
    config.create_if_missing = true;
    for (const char* name : {"a", "b"}) config.devices.push_back(MemoryDevice(name, 64 * kMiB));
    config.devices.back().faults = faults;
    auto pool = PoolImpl::Open(config, clock_, [this](const LogEvent& event) {
      if (event.event == "transfers_kept") kept_.push_back(event.fields.at(0).second);
    });
    ASSERT_TRUE(pool) << pool.error().message;
    pool_ = std::move(*pool);
    space_ = pool_->OpenSpace({.model = "m", .layers = 4}).value();
    channel_ = pool_->OpenChannel({.caller_driven = true}).value();
  }

  DeviceInfo Last() const { return pool_->info().devices.back(); }

  void Aim(GetRequest& get, const Blocks& blocks, std::byte* into) {
    segments_.clear();
    for (std::size_t i = 0; i < blocks.keys.size(); ++i) {
      segments_.push_back({into + i * blocks.block_bytes, blocks.block_bytes});
    }
    get.space = space_;
    get.keys = blocks.keys;
    get.into = segments_;
    get.deadline = milliseconds(500);
  }

  // Polls, with the time standing still, until nothing more is done by itself.
  Request* PollNow() {
    Request* done = nullptr;
    for (int i = 0; i < 200 && done == nullptr; ++i) {
      channel_->Poll({&done, 1});
      channel_->Wait(std::chrono::nanoseconds(0));
      std::this_thread::yield();
    }
    return done;
  }

  // A request on a device that holds transfers is over with its deadline and the grace behind it.
  void ExpectOverAtItsDeadline(Request& request) {
    EXPECT_EQ(PollNow(), nullptr);
    clock_.Advance(milliseconds(499));
    EXPECT_EQ(PollNow(), nullptr);
    clock_.Advance(milliseconds(1));
    EXPECT_EQ(PollNow(), nullptr);  // the device is asked, and given time
    clock_.Advance(milliseconds(50));
    EXPECT_EQ(PollNow(), &request);
  }

  TestClock clock_;
  std::vector<std::string> kept_;  // devices with such transfers, by this thread: its own lane
  std::unique_ptr<PoolImpl> pool_;
  Space space_;
  std::vector<Segment> segments_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(PoolDeadlineTest, AGetIntoPlainMemoryEndsThoughTheDriveHoldsOn) {
  Open("read.hold");
  const Blocks blocks("c", 4, kMiB);
  Put(*channel_, space_, blocks);
  const Aligned memory = PlainMemory(4 * kMiB);
  GetRequest get;
  Aim(get, blocks, memory.get());
  ASSERT_EQ(channel_->Submit(get), Status::kOk);
  ExpectOverAtItsDeadline(get);
  for (std::size_t key = 0; key < 4; ++key) EXPECT_EQ(get.result(key), Status::kTimedOut);
  EXPECT_GT(Last().transfers_abandoned, 0u);
  EXPECT_EQ(Last().state, DeviceState::kDrained);
  EXPECT_NE(Last().state_reason, "");
}

TEST_F(PoolDeadlineTest, AGetIntoThePoolsMemoryEndsThoughTheDriveHoldsOn) {
  Open("read.hold");
  const Blocks blocks("c", 4, kMiB);
  Put(*channel_, space_, blocks);
  const auto memory = pool_->Allocate(4 * kMiB, -1, false).value();
  GetRequest get;
  Aim(get, blocks, memory->bytes().data());
  ASSERT_EQ(channel_->Submit(get), Status::kOk);
  ExpectOverAtItsDeadline(get);
  EXPECT_EQ(get.result(0), Status::kTimedOut);
}

TEST_F(PoolDeadlineTest, AfterADriveHasStoppedTheNextGetDoesNotWaitForIt) {
  Open("read.hold");
  const Blocks blocks("c", 4, kMiB);
  Put(*channel_, space_, blocks);
  const Aligned memory = PlainMemory(4 * kMiB);
  GetRequest first;
  Aim(first, blocks, memory.get());
  ASSERT_EQ(channel_->Submit(first), Status::kOk);
  ExpectOverAtItsDeadline(first);
  GetRequest next;
  Aim(next, blocks, memory.get());
  ASSERT_EQ(channel_->Submit(next), Status::kOk);
  EXPECT_EQ(PollNow(), &next);
  EXPECT_EQ(next.result(0), Status::kNotFound);
  EXPECT_EQ(Put(*channel_, space_, blocks), All(4, Status::kOk));
  ASSERT_EQ(channel_->Submit(next), Status::kOk);
  ASSERT_EQ(PollNow(), &next);
  EXPECT_EQ(next.result(0), Status::kOk);
  EXPECT_EQ(std::memcmp(memory.get(), blocks.bytes.data(), 4 * kMiB), 0);
}

TEST_F(PoolDeadlineTest, ALaterRequestOnADriveThatHasStoppedIsGivenUpWithIt) {
  Open("read.hold");
  const Blocks blocks("c", 4, kMiB);
  const Blocks more("d", 4, kMiB, 2);
  Put(*channel_, space_, blocks);
  Put(*channel_, space_, more);
  const Aligned memory = PlainMemory(8 * kMiB);
  GetRequest first;
  Aim(first, blocks, memory.get());
  ASSERT_EQ(channel_->Submit(first), Status::kOk);
  std::vector<Segment> into;
  for (std::size_t i = 4; i < 8; ++i) into.push_back({memory.get() + i * kMiB, kMiB});
  GetRequest patient;
  patient.space = space_;
  patient.keys = more.keys;
  patient.into = into;
  patient.deadline = std::chrono::seconds(20);
  ASSERT_EQ(channel_->Submit(patient), Status::kOk);
  ExpectOverAtItsDeadline(first);
  EXPECT_EQ(Last().state, DeviceState::kDrained);
  Request* done = PollNow();
  if (done == nullptr) clock_.Advance(milliseconds(50));
  if (done == nullptr) done = PollNow();
  EXPECT_EQ(done, &patient);
  EXPECT_EQ(patient.result(0), Status::kNotFound);
}

// Without a way to take memory from under a transfer, the device is waited for.
class NoDetacher final : public mem::Detacher {
 public:
  bool Detach(std::span<const iovec>) override { return false; }
};

TEST_F(PoolDeadlineTest, ControlMemoryThatCannotBeDetachedIsWaitedFor) {
  NoDetacher none;
  PoolParts parts{.clock = &clock_, .detacher = &none};
  for (const char* name : {"a", "b"}) {
    DeviceConfig config = MemoryDevice(name, 64 * kMiB);
    if (config.name == "b") config.faults = "read.hold ms=2000";
    parts.config.devices.push_back(config);
    parts.devices.push_back({config, device::OpenDevice(config, {.clock = &clock_}).value()});
  }
  pool_ = PoolImpl::Open(std::move(parts)).value();
  space_ = pool_->OpenSpace({.model = "m", .layers = 4}).value();
  channel_ = pool_->OpenChannel({.caller_driven = true}).value();
  const Blocks blocks("c", 4, kMiB);
  Put(*channel_, space_, blocks);
  const Aligned memory = PlainMemory(4 * kMiB);
  GetRequest get;
  Aim(get, blocks, memory.get());
  ASSERT_EQ(channel_->Submit(get), Status::kOk);
  EXPECT_EQ(PollNow(), nullptr);
  clock_.Advance(milliseconds(500));
  EXPECT_EQ(PollNow(), nullptr);
  clock_.Advance(milliseconds(100));
  EXPECT_EQ(PollNow(), nullptr);
  EXPECT_EQ(Last().transfers_abandoned, 0u);
  clock_.Advance(milliseconds(1400));
  EXPECT_EQ(PollNow(), &get);
}

TEST_F(PoolDeadlineTest, AReadThatLandsLateDoesNotReachTheCaller) {
  for (const bool pools : {false, true}) {
    SCOPED_TRACE(pools ? "pool memory" : "plain memory");
    channel_.reset();
    pool_.reset();
    Open("read.hold ms=2000");
    const Blocks blocks("c", 4, kMiB);
    Put(*channel_, space_, blocks);
    const Aligned plain = PlainMemory(4 * kMiB);
    const auto own = pool_->Allocate(4 * kMiB, -1, false).value();
    std::byte* const memory = pools ? own->bytes().data() : plain.get();
    std::memset(memory, 'o', 4 * kMiB);
    GetRequest get;
    Aim(get, blocks, memory);
    ASSERT_EQ(channel_->Submit(get), Status::kOk);
    ExpectOverAtItsDeadline(get);
    ASSERT_GT(Last().transfers_abandoned, 0u);
    std::memset(memory, 'n', 4 * kMiB);
    clock_.Advance(milliseconds(2000));
    EXPECT_EQ(PollNow(), nullptr);
    EXPECT_EQ(std::count(memory, memory + 4 * kMiB, static_cast<std::byte>('n')),
              static_cast<std::ptrdiff_t>(4 * kMiB));
  }
}

TEST_F(PoolDeadlineTest, StagingThatADriveHoldsIsReplaced) {
  Open("read.hold ms=2000");
  const Blocks blocks("c", 32, kMiB);
  EXPECT_EQ(Put(*channel_, space_, blocks), All(32, Status::kOk));
  const Aligned memory = PlainMemory(33 * kMiB);
  GetRequest get;
  Aim(get, blocks, memory.get() + 8);  // not where a drive could put it
  ASSERT_EQ(channel_->Submit(get), Status::kOk);
  ExpectOverAtItsDeadline(get);
  std::memset(memory.get(), 'n', 33 * kMiB);
  EXPECT_EQ(Put(*channel_, space_, blocks), All(32, Status::kOk));
  GetRequest again;
  Aim(again, blocks, memory.get() + 8);
  ASSERT_EQ(channel_->Submit(again), Status::kOk);
  ASSERT_EQ(PollNow(), &again);
  for (std::size_t key = 0; key < 32; ++key) EXPECT_EQ(again.result(key), Status::kOk);
  EXPECT_EQ(std::memcmp(memory.get() + 8, blocks.bytes.data(), 32 * kMiB), 0);
  clock_.Advance(milliseconds(2000));
  EXPECT_EQ(PollNow(), nullptr);
  EXPECT_EQ(std::memcmp(memory.get() + 8, blocks.bytes.data(), 32 * kMiB), 0);
}

TEST_F(PoolDeadlineTest, SlotsOfAWriteThatIsHeldAreNotUsedBeforeItIsOver) {
  Open("write.hold ms=600 count=2");
  const Blocks blocks("c", 4, kMiB);
  PutRequest put;
  put.space = space_;
  put.keys = blocks.keys;
  put.from = blocks.segments;
  put.deadline = milliseconds(100);
  ASSERT_EQ(channel_->Submit(put), Status::kOk);
  EXPECT_EQ(PollNow(), nullptr);
  clock_.Advance(milliseconds(100));
  EXPECT_EQ(PollNow(), nullptr);
  clock_.Advance(milliseconds(50));
  ASSERT_EQ(PollNow(), &put);
  EXPECT_EQ(put.result(0), Status::kTimedOut);
  EXPECT_GT(Last().used_bytes, 0u);
  EXPECT_EQ(pool_->info().devices[0].used_bytes, 0u);
  EXPECT_EQ(pool_->Match(space_, blocks.keys), 0u);
  clock_.Advance(milliseconds(600));
  EXPECT_EQ(PollNow(), nullptr);
  Put(*channel_, space_, Blocks("d", 1, 4096, 2));  // frees what has come back
  EXPECT_LE(Last().used_bytes, 64 * kKiB);
}

TEST_F(PoolDeadlineTest, HastyDeadlinesDoNotDrainADriveThatAnswers) {
  Open("read.hold ms=120");
  const Blocks blocks("c", 4, kMiB);
  Put(*channel_, space_, blocks);
  const Aligned memory = PlainMemory(4 * kMiB);
  for (int i = 0; i < 8; ++i) {
    GetRequest get;
    Aim(get, blocks, memory.get());
    get.deadline = milliseconds(1);
    ASSERT_EQ(channel_->Submit(get), Status::kOk);
    PollNow();
    clock_.Advance(milliseconds(2));
    PollNow();
    clock_.Advance(milliseconds(50));
    PollNow();
    clock_.Advance(milliseconds(120));
    PollNow();
  }
  EXPECT_EQ(Last().state, DeviceState::kServing);
  EXPECT_GT(Last().transfers_abandoned, 0u);
}

TEST_F(PoolDeadlineTest, APoolClosesThoughADriveHoldsTransfersForEver) {
  Open("hold after=1");
  const Blocks blocks("c", 8, kMiB);
  PutRequest put;
  put.space = space_;
  put.keys = blocks.keys;
  put.from = blocks.segments;
  put.deadline = milliseconds(500);
  ASSERT_EQ(channel_->Submit(put), Status::kOk);
  for (int i = 0; i < 20 && PollNow() == nullptr; ++i) clock_.Advance(milliseconds(60));
  EXPECT_GT(Last().transfers_abandoned, 0u);
  EXPECT_TRUE(kept_.empty());
  channel_.reset();
  EXPECT_EQ(kept_, std::vector<std::string>{"b"});
  pool_.reset();
}

}  // namespace
}  // namespace kvpool::pool
