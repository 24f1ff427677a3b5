#include "pool/speed.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

namespace kvpool::pool {
namespace {

constexpr std::int64_t kWindowNs = 50'000'000;
constexpr Speed kConfigured{800e6, 400e6};

// A device that is busy for `seconds`, reading and writing at these speeds in turn: `reads` is the
// part of the time that goes to reads. Returns the time until the estimate changed first, or -1.
double Busy(SpeedEstimator& estimator, double seconds, Speed speed, double reads = 1) {
  double changed_s = -1;
  const double window_s = 1e-9 * kWindowNs;
  for (double s = window_s; s <= seconds + 1e-9; s += window_s) {
    const bool changed = estimator.Add(
        {.ns = kWindowNs,
         .bytes_read = static_cast<std::uint64_t>(speed.read_bytes_per_s * window_s * reads),
         .bytes_written =
             static_cast<std::uint64_t>(speed.write_bytes_per_s * window_s * (1 - reads))});
    if (changed && changed_s < 0) changed_s = s;
  }
  return changed_s;
}

TEST(Speed, HalfTheSpeedIsBelievedAfterASecondOfIt) {
  SpeedEstimator estimator(kConfigured);
  EXPECT_EQ(Busy(estimator, 5, kConfigured), -1);
  const double seconds = Busy(estimator, 5, {400e6, 200e6});
  EXPECT_GE(seconds, 1);
  EXPECT_LE(seconds, 1.3);
  EXPECT_NEAR(estimator.in_use().read_bytes_per_s, 400e6, 10e6);
  EXPECT_EQ(estimator.in_use().write_bytes_per_s, kConfigured.write_bytes_per_s);
}

TEST(Speed, ItRecoversTheSameWay) {
  SpeedEstimator estimator(kConfigured);
  Busy(estimator, 3, {200e6, 400e6});
  const double seconds = Busy(estimator, 5, kConfigured);
  EXPECT_GE(seconds, 1);
  EXPECT_LE(seconds, 1.3);
  EXPECT_NEAR(estimator.in_use().read_bytes_per_s, 800e6, 20e6);
}

TEST(Speed, SmallAndShortDeviationsChangeNothing) {
  SpeedEstimator estimator(kConfigured);
  EXPECT_EQ(Busy(estimator, 20, {0.9 * 800e6, 400e6}), -1);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Busy(estimator, 0.5, {300e6, 400e6}), -1);  // a stall of half a second
    EXPECT_EQ(Busy(estimator, 1.5, kConfigured), -1);
  }
  EXPECT_EQ(estimator.in_use().read_bytes_per_s, kConfigured.read_bytes_per_s);
}

// Windows that scatter by a quarter around the configured speed are noise.
TEST(Speed, NoiseAroundTheSpeedInUseChangesNothing) {
  SpeedEstimator estimator(kConfigured);
  for (int i = 0; i < 1000; ++i) {
    const double factor = i % 2 == 0 ? 0.75 : 1.25;
    EXPECT_EQ(Busy(estimator, 0.05, {factor * 800e6, 400e6}), -1);
  }
}

TEST(Speed, ThrottlingShowsInReadsAndWritesTogether) {
  SpeedEstimator estimator(kConfigured);
  EXPECT_EQ(Busy(estimator, 10, kConfigured, 0.5), -1);
  const double seconds = Busy(estimator, 5, {400e6, 200e6}, 0.5);
  EXPECT_GE(seconds, 1);
  EXPECT_LE(seconds, 1.5) << "each bears witness for the other";
  EXPECT_NEAR(estimator.in_use().read_bytes_per_s, 400e6, 20e6);
  EXPECT_NEAR(estimator.in_use().write_bytes_per_s, 200e6, 10e6);
}

TEST(Speed, WhereNothingIsReadWritesTell) {
  SpeedEstimator estimator(kConfigured);
  Busy(estimator, 4, {400e6, 200e6}, 0);
  EXPECT_NEAR(estimator.in_use().write_bytes_per_s, 200e6, 10e6);
  EXPECT_NEAR(estimator.in_use().read_bytes_per_s, 400e6, 20e6);
  Busy(estimator, 3, kConfigured, 0);
  EXPECT_NEAR(estimator.in_use().read_bytes_per_s, 800e6, 40e6);
}

TEST(Speed, ReadsHaveTheLastWordOnReads) {
  SpeedEstimator estimator(kConfigured);
  Busy(estimator, 4, {800e6, 200e6}, 0);  // its writes alone are slow
  EXPECT_NEAR(estimator.in_use().read_bytes_per_s, 400e6, 20e6);
  Busy(estimator, 2, kConfigured, 1);
  EXPECT_NEAR(estimator.in_use().read_bytes_per_s, 800e6, 20e6);
  EXPECT_EQ(Busy(estimator, 1.5, {800e6, 200e6}, 0), -1) << "not for every burst of writes";
}

TEST(Speed, StaysWithinItsBounds) {
  SpeedEstimator estimator(kConfigured);
  Busy(estimator, 30, {1, 1});  // less than a byte a window
  EXPECT_EQ(estimator.in_use().read_bytes_per_s, kConfigured.read_bytes_per_s);
  Busy(estimator, 30, {1e3, 1e3});
  EXPECT_EQ(estimator.in_use().read_bytes_per_s, 800e6 / SpeedEstimator::kMaxFactor);
  Busy(estimator, 30, {1e15, 1e15});
  EXPECT_EQ(estimator.in_use().read_bytes_per_s, 800e6 * SpeedEstimator::kMaxFactor);
}

// Whatever comes in, what placement sees is a speed it can use.
RC_GTEST_PROP(
    Speed, AnyWindowsGiveAUsableSpeed,
    (const std::vector<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>>& windows)) {
  SpeedEstimator estimator(kConfigured);
  for (const auto& [ns, read, written] : windows) estimator.Add({ns, read, written});
  const Speed speed = estimator.in_use();
  RC_ASSERT(std::isfinite(speed.read_bytes_per_s) && std::isfinite(speed.write_bytes_per_s));
  RC_ASSERT(speed.read_bytes_per_s >= 800e6 / SpeedEstimator::kMaxFactor);
  RC_ASSERT(speed.write_bytes_per_s <= 400e6 * SpeedEstimator::kMaxFactor);
}

}  // namespace
}  // namespace kvpool::pool
