#include "pool/health.h"

#include <gtest/gtest.h>

#include "base/limits.h"

namespace kvpool::pool {
namespace {

TEST(HealthTest, ErrorsInARowDrainTheDeviceAndSaySo) {
  Health health;
  for (std::uint32_t i = 1; i < kMaxErrorsInARow; ++i) health.Failed(0);
  EXPECT_TRUE(health.serves());
  EXPECT_EQ(health.reason(), "");
  health.Failed(0);
  EXPECT_EQ(health.state(), DeviceState::kDrained);
  EXPECT_NE(health.reason(), "");
  EXPECT_EQ(health.io_errors(), kMaxErrorsInARow);
}

TEST(HealthTest, ATransferThatGoesWellEndsARow) {
  Health health;
  for (std::uint32_t i = 0; i < 3 * (kMaxErrorsInARow - 1); ++i) {
    if (i % (kMaxErrorsInARow - 1) == 0) health.Succeeded();
    health.Failed(0);
  }
  EXPECT_TRUE(health.serves());
}

TEST(HealthTest, ManyErrorsWithinLittleTrafficDrainAlsoBetweenSuccesses) {
  Health health;
  std::uint32_t failures = 0;
  for (; health.serves() && failures < 1000; ++failures) {
    health.Failed(failures * kMiB);
    health.Succeeded();
  }
  EXPECT_EQ(failures, kMaxErrorsInWindow);
}

TEST(HealthTest, TheSameErrorsOverMuchTrafficDoNot) {
  Health health;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    health.Failed(i * kHealthWindowBytes / 16);
    health.Succeeded();
  }
  EXPECT_TRUE(health.serves());
}

TEST(HealthTest, WrongBytesDrainOnlyWhereTheyWereWrittenSinceTheOpening) {
  Health health;
  for (std::uint32_t i = 0; i < 1000; ++i) health.Corrupted(0, false);
  EXPECT_TRUE(health.serves());
  for (std::uint32_t i = 1; i < kMaxChecksumFailuresInWindow; ++i) health.Corrupted(0, true);
  EXPECT_TRUE(health.serves());
  health.Corrupted(0, true);
  EXPECT_FALSE(health.serves());
}

TEST(HealthTest, RequestsThatEndBehindHeldTransfersDrainUnlessSomethingIsDoneBetween) {
  Health health;
  for (std::uint32_t i = 0; i < 20; ++i) {
    health.MissedDeadline(kPatienceNs);
    health.Succeeded();
  }
  EXPECT_TRUE(health.serves());
  for (std::uint32_t i = 0; i < kMaxMissedDeadlinesInARow; ++i) health.MissedDeadline(kPatienceNs);
  EXPECT_FALSE(health.serves());
}

TEST(HealthTest, HastyDeadlinesAreNoFaultOfTheDevice) {
  Health health;
  for (std::uint32_t i = 0; i < 1000; ++i) health.MissedDeadline(kPatienceNs - 1);
  EXPECT_TRUE(health.serves());
  EXPECT_EQ(health.missed_deadlines(), 1000u);
}

TEST(HealthTest, TheFirstReasonStays) {
  Health health;
  health.Drain("one");
  health.Drain("two");
  EXPECT_EQ(health.reason(), "one");
}

}  // namespace
}  // namespace kvpool::pool
