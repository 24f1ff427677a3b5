#include "base/pacer.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

namespace kvpool {
namespace {

struct Passed {
  std::int64_t due_ns;
  std::uint64_t bytes;
};

// Submits transfers as the generated list says: an idle pause, then a size.
std::vector<Passed> Drive(Pacer& pacer,
                          const std::vector<std::pair<std::uint32_t, std::uint32_t>>& steps,
                          std::int64_t start_ns) {
  std::vector<Passed> passed;
  std::int64_t now = start_ns;
  for (const auto& [pause_ns, bytes] : steps) {
    now += pause_ns % 2'000'000;
    const std::uint64_t length = bytes % (1 << 20) + 1;
    passed.push_back({pacer.Reserve(now, length), length});
  }
  std::sort(passed.begin(), passed.end(), [](auto& a, auto& b) { return a.due_ns < b.due_ns; });
  return passed;
}

RC_GTEST_PROP(Pacer, NeverMoreThanThePaceSinceAnIdleStart,
              (const std::vector<std::pair<std::uint32_t, std::uint32_t>>& steps,
               std::uint32_t mb_per_s, bool jitter, std::uint16_t latency_us)) {
  const double rate = 1e6 * (mb_per_s % 20'000 + 1);
  const std::int64_t start = 5'000'000'000;
  Pacer pacer(
      {.bytes_per_s = rate, .latency_ns = latency_us * 1000, .jitter_seed = jitter ? 9u : 0u});
  double bytes = 0;
  for (const auto& passed : Drive(pacer, steps, start)) {
    bytes += static_cast<double>(passed.bytes);
    RC_ASSERT(bytes <= rate * static_cast<double>(passed.due_ns - start) / 1e9 * 1.000001);
  }
}

TEST(Pacer, TakesOnItsLaterSpeeds) {
  Pacer pacer({.bytes_per_s = 1e9, .later = {{1000, 5e8}, {5000, 2e9}}}, 100'000);
  EXPECT_EQ(pacer.Reserve(100'000, 500), 100'500);
  EXPECT_EQ(pacer.Reserve(101'000, 500), 102'000);
  EXPECT_EQ(pacer.Reserve(104'999, 500), 105'999);
  EXPECT_EQ(pacer.Reserve(106'000, 500), 106'250);
}

// Idle time must not be made up for later: after any pause the pace holds from its end on.
RC_GTEST_PROP(Pacer, APauseGivesNoCredit, (std::uint32_t pause_us, std::uint8_t transfers)) {
  Pacer pacer({.bytes_per_s = 1e9});
  std::int64_t now = pacer.Reserve(0, 1 << 20) + std::int64_t{pause_us} * 1000;
  for (int i = 1; i <= transfers; ++i) {
    RC_ASSERT(pacer.Reserve(now, 1000) == now + i * 1000);
  }
}

TEST(Pacer, GivesWhatItPromisesToSmallAndLargeTransfers) {
  for (const std::uint64_t bytes : {512u, 4096u, 1u << 20}) {
    for (const double rate : {2e8, 3e9, 1e10}) {
      Pacer pacer({.bytes_per_s = rate});
      std::int64_t due = 0;
      for (int i = 0; i < 10'000; ++i) due = pacer.Reserve(0, bytes);
      const double given = static_cast<double>(bytes) * 10'000 / (static_cast<double>(due) / 1e9);
      EXPECT_LE(given, rate);
      EXPECT_GE(given, rate * 0.998);
    }
  }
}

TEST(Pacer, LatencyComesOnTopAndTakesNoBandwidth) {
  Pacer pacer({.bytes_per_s = 1e9, .latency_ns = 500});
  EXPECT_EQ(pacer.Reserve(0, 1000), 1500);
  EXPECT_EQ(pacer.Reserve(0, 1000), 2500);
  EXPECT_EQ(pacer.Reserve(10'000, 0), 10'500);
}

TEST(Pacer, JitterIsSeededAndKeepsToItsRange) {
  Pacer a({.bytes_per_s = 1e9, .latency_ns = 1'000'000, .jitter_seed = 1});
  Pacer same({.bytes_per_s = 1e9, .latency_ns = 1'000'000, .jitter_seed = 1});
  Pacer other({.bytes_per_s = 1e9, .latency_ns = 1'000'000, .jitter_seed = 2});
  int different = 0;
  double sum = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto due = a.Reserve(0, 0);
    EXPECT_EQ(due, same.Reserve(0, 0));
    different += due != other.Reserve(0, 0);
    EXPECT_GE(due, 500'000);
    EXPECT_LE(due, 1'500'000);
    sum += static_cast<double>(due);
  }
  EXPECT_GT(different, 990);
  EXPECT_NEAR(sum / 1000, 1e6, 3e4);
}

TEST(Pacer, ThreadsShareOnePace) {
  Pacer pacer({.bytes_per_s = 1e9});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 1000; ++k) pacer.Reserve(0, 1000);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(pacer.Reserve(0, 1000), 4'001'000);
}

}  // namespace
}  // namespace kvpool
