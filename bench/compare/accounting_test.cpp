#include "bench/compare/accounting.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "bench/compare/layer_clock.h"
#include "bench/compare/summary.h"

namespace kvpool::bench {
namespace {

TEST(Accounting, ReadsSchedstat) {
  const auto parsed = ParseSchedstat("415939 454220 2\n");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->run_ns, 415939);
  EXPECT_EQ(parsed->wait_ns, 454220);
  EXPECT_FALSE(ParseSchedstat(""));
  EXPECT_FALSE(ParseSchedstat("12"));
  EXPECT_FALSE(ParseSchedstat("twelve 13"));
}

TEST(Accounting, ReadsStatOfAThreadWithAnAwkwardName) {
  const auto parsed = ParseStat(
      "812 (a) R (b 7) S 1 812 812 0 -1 4194368 120 0 0 0 17 29 0 0 20 0 3 0 8812 1 2 3\n");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->user, 17);
  EXPECT_EQ(parsed->system, 29);
  EXPECT_FALSE(ParseStat("812 (kvpool) S 1 812"));
  EXPECT_FALSE(ParseStat("812 (kvpool"));
}

TEST(Accounting, BlockedIsTimeOffTheProcessorPlusSystemTime) {
  const ThreadBooks begin{.at_ns = 0, .sched = {1'000'000'000, 0}, .ticks = {100, 100}};
  // One second: 0.4 s running, a quarter of it in the kernel, 0.1 s waiting for a processor.
  const ThreadBooks end{
      .at_ns = 1'000'000'000, .sched = {1'400'000'000, 100'000'000}, .ticks = {130, 110}};
  EXPECT_NEAR(BlockedSeconds(begin, end), 0.5 + 0.1, 1e-9);
}

TEST(Accounting, BeforeTheFirstTickTheThreadsLifeTellsTheProportion) {
  const ThreadBooks begin{.at_ns = 0, .sched = {0, 0}, .ticks = {30, 10}};
  const ThreadBooks end{.at_ns = 10'000'000, .sched = {4'000'000, 0}, .ticks = {30, 10}};
  EXPECT_NEAR(BlockedSeconds(begin, end), 0.006 + 0.001, 1e-9);
}

TEST(Accounting, AThreadThatWaitsIsBlockedAndOneThatComputesIsNot) {
  std::mutex mutex;
  std::condition_variable wake;
  bool done = false;
  std::int32_t id = 0;
  std::thread waiter([&] {
    std::unique_lock lock(mutex);
    id = gettid();
    wake.notify_all();
    wake.wait(lock, [&] { return done; });
  });
  {
    std::unique_lock lock(mutex);
    wake.wait(lock, [&] { return id != 0; });
  }
  const ThreadsMeter other(std::array{id});
  const auto own = ReadThisThread();
  if (!own) GTEST_SKIP() << "this kernel keeps no schedstat";
  const std::int64_t until = Clock::Monotonic().NowNs() + 30'000'000;
  while (Clock::Monotonic().NowNs() < until) {
  }
  const double wall_s = 0.03;
  const auto other_blocked = other.BlockedSeconds();
  ASSERT_TRUE(other_blocked);
  EXPECT_GT(*other_blocked, 0.2 * wall_s);  // less what a busy machine kept it waiting
  // Computing: the system part is what the clock costs, and the rest is time on the processor.
  EXPECT_GT(ReadThisThread()->sched.run_ns, own->sched.run_ns);
  {
    const std::lock_guard lock(mutex);
    done = true;
  }
  wake.notify_all();
  waiter.join();
  EXPECT_FALSE(ThreadsMeter(std::array{id}).BlockedSeconds());
}

TEST(LayerClock, TellsTheWorstLayerPastTheFirstTenth) {
  LayerClock even(10);
  for (int j = 1; j <= 10; ++j) even.Saw(static_cast<std::uint32_t>(j), j * 0.1);
  EXPECT_NEAR(*even.WorstRatio(1.0), 1.0, 1e-9);
  LayerClock late(10);                            // nothing is complete before the end
  EXPECT_NEAR(*late.WorstRatio(1.0), 5.0, 1e-9);  // layer 1: a fifth of the time would be in step
  LayerClock jump(4);
  jump.Saw(3, 0.9);
  EXPECT_NEAR(*jump.WorstRatio(1.0), 0.9 / 0.25, 1e-9);
  EXPECT_FALSE(LayerClock(1).WorstRatio(1.0));
}

TEST(Summary, TakesMediansAndTheExtremes) {
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 2, 3}), 2.5);
  const std::uint64_t gib = 1ull << 30;
  const std::array samples = {Sample{.seconds = 2, .cpu_s = 0.2, .blocked_s = 1.5, .bytes = gib},
                              Sample{.seconds = 1, .cpu_s = 0.4, .blocked_s = 0.5, .bytes = gib},
                              Sample{.seconds = 4, .cpu_s = 0.3, .blocked_s = 3.5, .bytes = gib}};
  const Row row = Summarise(samples, static_cast<double>(gib));
  EXPECT_EQ(row.seconds, 2);
  EXPECT_EQ(row.bytes_per_s, gib / 2);
  EXPECT_EQ(row.bytes_per_s_min, gib / 4);
  EXPECT_EQ(row.bytes_per_s_max, gib);
  EXPECT_EQ(row.fraction_of_devices, 0.5);
  EXPECT_EQ(row.cpu_s_per_gib, 0.3);
  EXPECT_EQ(row.blocked_s, 1.5);
  EXPECT_FALSE(row.layer_ratio);
}

TEST(BlockedSeconds, SpinningIsNotBlockedTime) {
  ThreadBooks begin;
  ThreadBooks end;
  end.at_ns = 1'000'000'000;
  end.sched.run_ns = 1'000'000'000;
  end.ticks = {.user = 50, .system = 50};
  EXPECT_DOUBLE_EQ(BlockedSeconds(begin, end), 0.5);
  EXPECT_DOUBLE_EQ(BlockedSeconds(begin, end, 0.8), 0.1);
  EXPECT_DOUBLE_EQ(BlockedSeconds(begin, end, 2), 0);
}

}  // namespace
}  // namespace kvpool::bench
