#include "pool/write_budget.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>
#include <vector>

namespace kvpool::pool {
namespace {

constexpr std::uint64_t kBudget = 86'400'000'000;  // a megabyte a second
constexpr std::int64_t kSecondNs = 1'000'000'000;
constexpr std::int64_t kDay = 86'400;

TEST(WriteBudget, RefillsEvenlyOverADay) {
  WriteBudget budget(kBudget);
  EXPECT_EQ(budget.Left(5 * kSecondNs), kBudget);
  budget.Spend(kBudget);
  EXPECT_EQ(budget.Left(5 * kSecondNs), 0u);
  EXPECT_EQ(budget.Left(15 * kSecondNs), 0u) << "spent, for half an hour";
  EXPECT_NEAR(static_cast<double>(budget.Held(15 * kSecondNs)), 10e6, 1);
  EXPECT_NEAR(static_cast<double>(budget.Left(2000 * kSecondNs)), 1995e6, 1);
  EXPECT_NEAR(static_cast<double>(budget.Left((5 + kDay / 2) * kSecondNs)), kBudget / 2.0, 10);
  EXPECT_NEAR(static_cast<double>(budget.Left(3 * kDay * kSecondNs)), kBudget, 10);
}

TEST(WriteBudget, NoneIsNoLimit) {
  WriteBudget budget(0);
  EXPECT_FALSE(budget.limited());
  budget.Spend(1ull << 60);
  EXPECT_EQ(budget.Left(kSecondNs), std::numeric_limits<std::uint64_t>::max());
}

TEST(WriteBudget, ARestartGoesOnWhereTheLastOneWas) {
  WriteBudget budget(kBudget);
  budget.Restore(1000, 1'000'000, 1'000'010);
  EXPECT_NEAR(static_cast<double>(budget.Held(7 * kSecondNs)), 1000 + 10e6, 1);
}

TEST(WriteBudget, AJumpOfTheWallClockGivesAtMostOneDay) {
  WriteBudget forward(kBudget);
  forward.Restore(0, 1'000'000, 1'000'000 + 400 * kDay);
  EXPECT_EQ(forward.Left(0), kBudget);
  WriteBudget back(kBudget);
  back.Restore(1000, 1'000'000, 10);
  EXPECT_EQ(back.Held(0), 1000u);
  WriteBudget wild(kBudget);
  wild.Restore(~std::uint64_t{0}, std::numeric_limits<std::int64_t>::min(),
               std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(wild.Left(0), kBudget);
}

TEST(WriteBudget, ASmallerBudgetInThePoolFileHoldsAtOnce) {
  WriteBudget budget(1000);
  budget.Restore(kBudget, 0, 0);
  EXPECT_EQ(budget.Held(0), 1000u);
}

// What is spent within the budget never exceeds a full bucket and what has come in since.
RC_GTEST_PROP(WriteBudget, NeverMoreThanTheBucketAndItsRefill,
              (const std::vector<std::pair<std::uint32_t, std::uint32_t>>& steps)) {
  WriteBudget budget(kBudget);
  std::int64_t now_ns = 0;
  double spent = 0;
  for (const auto& [pause_ms, wanted] : steps) {
    now_ns += std::int64_t{pause_ms} * 1'000'000;
    const std::uint64_t bytes = std::min<std::uint64_t>(budget.Left(now_ns), wanted * 1000ull);
    budget.Spend(bytes);
    spent += static_cast<double>(bytes);
    RC_ASSERT(spent <= kBudget + 1e-3 * static_cast<double>(now_ns) + 1000);
  }
}

}  // namespace
}  // namespace kvpool::pool
