#include "base/shared_limit.h"

#include <gtest/gtest.h>

#include <random>

namespace kvpool {
namespace {

TEST(SharedLimit, APartyTakesTheRestAndNotWhatIsAnothers) {
  SharedLimit limit(100, 2);
  EXPECT_EQ(limit.own(), 25u);
  EXPECT_TRUE(limit.Take(0, 75));
  EXPECT_FALSE(limit.Take(0, 1));
  EXPECT_TRUE(limit.Take(1, 25));
  EXPECT_FALSE(limit.Take(1, 1));
  limit.Give(0, 51);
  EXPECT_FALSE(limit.Take(1, 51)) << "all or none";
  EXPECT_TRUE(limit.Take(1, 50));
  EXPECT_TRUE(limit.Take(0, 1));
}

TEST(SharedLimit, WhereThereIsHardlyOneForEachThereIsOneForEach) {
  SharedLimit limit(64, 40);
  for (std::size_t taken = 0; taken < 25; ++taken) EXPECT_TRUE(limit.Take(0, 1));
  EXPECT_FALSE(limit.Take(0, 1));
  for (std::size_t party = 1; party < 40; ++party) EXPECT_TRUE(limit.Take(party, 1));
  EXPECT_FALSE(SharedLimit(3, 4).Take(0, 4));
}

TEST(SharedLimit, WhoeverHasLessThanItsPartGetsItAtAnyTime) {
  constexpr std::size_t kParties = 5;
  SharedLimit limit(64, kParties);
  std::vector<std::size_t> taken(kParties);
  std::mt19937 random(1);
  for (int step = 0; step < 100'000; ++step) {
    const std::size_t party = random() % kParties;
    const std::size_t count = 1 + random() % 8;
    if (random() % 2 == 0) {
      const bool got = limit.Take(party, count);
      if (taken[party] + count <= limit.own()) {
        ASSERT_TRUE(got) << step;
      }
      if (got) taken[party] += count;
    } else if (count <= taken[party]) {
      limit.Give(party, count);
      taken[party] -= count;
    }
    std::size_t all = 0;
    for (const std::size_t one : taken) all += one;
    ASSERT_LE(all, limit.most()) << step;
  }
}

}  // namespace
}  // namespace kvpool
