#include "device/slow.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "device/test_support.h"

namespace kvpool::device {
namespace {

// A slowed memory device on a clock that the test owns, without an eventfd. Declare it after the
// Ios: its end waits for them.
class Slowed {
 public:
  explicit Slowed(const SlowConfig& slow) {
    DeviceConfig config = MemoryConfig();
    config.slow = slow;
    device_ = OpenDevice(config, {.clock = &clock, .lock_memory = false}).value();
    queue = device_->OpenQueue({}).value();
  }
  ~Slowed() {
    clock.Advance(1'000'000'000'000);
    std::vector<Io*> rest(1024);
    while (queue->Poll(rest) > 0) {
    }
  }

  std::vector<Io*> Poll() {
    std::vector<Io*> done(1024);
    done.resize(queue->Poll(done));
    return done;
  }
  bool Submit(Io& io) {
    Io* one = &io;
    return queue->Submit({&one, 1}) == 1;
  }
  Device& device() { return *device_; }

  ManualClock clock;

 private:
  std::unique_ptr<Device> device_;

 public:
  std::unique_ptr<Queue> queue;
};

TEST(Slow, AnIoComesBackWhenItIsDueAndNotBefore) {
  Buffer memory(64 * kKiB);
  TestIo io(Op::kRead, 0, {memory.All()});
  Slowed slow({.bytes_per_s = 1e9, .latency_us = 10});
  EXPECT_EQ(slow.queue->NextPollNs(), Queue::kNever);
  ASSERT_TRUE(slow.Submit(io));
  const std::int64_t due = 65'536 + 10'000;
  EXPECT_EQ(slow.queue->NextPollNs(), due);
  slow.clock.Advance(due - 1);
  EXPECT_TRUE(slow.Poll().empty());
  slow.clock.Advance(1);
  EXPECT_EQ(slow.Poll(), std::vector<Io*>{&io});
  EXPECT_EQ(slow.queue->NextPollNs(), Queue::kNever);
}

TEST(Slow, ReadsAndWritesOfAllQueuesShareOneBandwidth) {
  Buffer memory(8192);
  TestIo write(Op::kWrite, 0, {memory.Part(0, 4096)});
  TestIo read(Op::kRead, 0, {memory.Part(4096, 4096)});
  Slowed slow({.bytes_per_s = 1e9});
  auto second = slow.device().OpenQueue({}).value();
  ASSERT_TRUE(slow.Submit(write));
  Io* one = &read;
  ASSERT_EQ(second->Submit({&one, 1}), 1u);
  slow.clock.Advance(4096);
  EXPECT_EQ(slow.Poll().size(), 1u);
  EXPECT_EQ(second->Poll({&one, 1}), 0u);
  EXPECT_EQ(second->NextPollNs(), 8192);
  slow.clock.Advance(4096);
  EXPECT_EQ(second->Poll({&one, 1}), 1u);
}

TEST(Slow, WithJitterTheEarliestDueComesFirst) {
  Buffer memory(4096);
  std::vector<std::unique_ptr<TestIo>> ios;
  Slowed slow({.bytes_per_s = 1e12, .latency_us = 1000, .seed = 4});
  for (int i = 0; i < 100; ++i) {
    ios.push_back(std::make_unique<TestIo>(Op::kRead, 0, std::vector{memory.All()}));
    ASSERT_TRUE(slow.Submit(*ios.back()));
  }
  std::vector<Io*> order;
  std::int64_t last = 0;
  while (order.size() < 100) {
    const std::int64_t next = slow.queue->NextPollNs();
    EXPECT_GE(next, last);
    slow.clock.Advance(std::max<std::int64_t>(0, next - slow.clock.NowNs()));
    last = next;
    for (Io* io : slow.Poll()) order.push_back(io);
  }
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end(), [&](Io* a, Io* b) {
    const auto at = [&](Io* io) {
      return std::find_if(ios.begin(), ios.end(), [&](auto& p) { return p.get() == io; });
    };
    return at(a) < at(b);
  })) << "jitter changed no order, so the test proves nothing";
}

TEST(Slow, CancelEndsTheWait) {
  Buffer memory(8192);
  TestIo first(Op::kRead, 0, {memory.Part(0, 4096)});
  TestIo second(Op::kRead, 0, {memory.Part(4096, 4096)});
  Slowed slow({.bytes_per_s = 1e6});
  ASSERT_TRUE(slow.Submit(first));
  ASSERT_TRUE(slow.Submit(second));
  slow.queue->Cancel(second);
  EXPECT_EQ(slow.Poll(), std::vector<Io*>{&second});
  EXPECT_TRUE(slow.Poll().empty());
}

TEST(Slow, ALoanTakesItsTime) {
  Slowed slow({.bytes_per_s = 1e6});
  TestIo loan(Op::kLend, 0, {});
  loan.bytes = 4096;
  ASSERT_TRUE(slow.Submit(loan));
  EXPECT_TRUE(slow.Poll().empty());
  EXPECT_GT(slow.queue->NextPollNs(), 0);
  slow.queue->Cancel(loan);
  EXPECT_EQ(slow.Poll(), std::vector<Io*>{&loan});
}

TEST(Slow, IsMappedLikeItsDeviceAndKeepsMoreInFlightForItsLatency) {
  Slowed quick({.bytes_per_s = 1e9});
  Slowed late({.bytes_per_s = 1e9, .latency_us = 10'000});
  EXPECT_NE(quick.device().Map(0), nullptr);
  EXPECT_TRUE(quick.device().traits().mapped);
  EXPECT_EQ(late.device().traits().depth, quick.device().traits().depth + 10);
  EXPECT_NE(late.device().traits().description.find("1.00 GB/s"), std::string::npos);
}

// The law that the emulated devices of every benchmark stand on, through the whole queue.
RC_GTEST_PROP(Slow, NeverMoreThanTheSettingAndNeverMuchLess,
              (std::vector<std::pair<std::uint16_t, std::uint16_t>> steps)) {
  RC_PRE(!steps.empty());
  const double rate = 5e8;
  Buffer memory(64 * kKiB);
  std::vector<std::unique_ptr<TestIo>> ios;
  Slowed slow({.bytes_per_s = rate, .latency_us = 20, .seed = 2});
  double bytes = 0;
  double busy_bytes = 0;
  std::size_t back = 0;
  const auto collect = [&] {
    for (Io* io : slow.Poll()) {
      bytes += io->bytes;
      ++back;
      RC_ASSERT(bytes <= 1.01 * rate * static_cast<double>(slow.clock.NowNs()) / 1e9);
    }
  };
  for (const auto& [pause_ns, length] : steps) {
    ios.push_back(std::make_unique<TestIo>(length % 2 ? Op::kRead : Op::kWrite, 0,
                                           std::vector{memory.Part(0, length + 1u)}));
    busy_bytes += length + 1;
    while (!slow.Submit(*ios.back())) {
      slow.clock.Advance(slow.queue->NextPollNs() - slow.clock.NowNs());
      collect();
    }
    slow.clock.Advance(pause_ns);
    collect();
  }
  const std::int64_t last_submitted = slow.clock.NowNs();
  while (back < ios.size()) {
    slow.clock.Advance(std::max<std::int64_t>(0, slow.queue->NextPollNs() - slow.clock.NowNs()));
    collect();
  }
  const double needed = static_cast<double>(last_submitted) + busy_bytes / rate * 1e9 + 30'000;
  RC_ASSERT(static_cast<double>(slow.clock.NowNs()) <= needed + static_cast<double>(ios.size()));
}

}  // namespace
}  // namespace kvpool::device
