#include "device/fault_script.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace kvpool::device {
namespace {

std::vector<int> Struck(const char* text, Op op, int ios) {
  FaultPlan plan(ParseFaults(text).value());
  std::vector<int> struck;
  std::uint64_t random = 0;
  for (int i = 1; i <= ios; ++i) {
    if (plan.Next(op, random) != Fault::kNone) struck.push_back(i);
  }
  return struck;
}

TEST(ParseFaults, ReadsEveryPart) {
  const auto script = ParseFaults(
      " read.error after=10 count=3; write.short every=100 ;;hang  chance=0.25;seed=7; disappear "
      "after=5");
  ASSERT_TRUE(script) << script.error().message;
  EXPECT_EQ(script->seed, 7u);
  ASSERT_EQ(script->rules.size(), 4u);
  EXPECT_EQ(script->rules[0],
            (FaultRule{.fault = Fault::kError, .op = Op::kRead, .after = 10, .count = 3}));
  EXPECT_EQ(script->rules[1], (FaultRule{.fault = Fault::kShort, .op = Op::kWrite, .every = 100}));
  EXPECT_EQ(script->rules[2], (FaultRule{.fault = Fault::kHang, .chance = 0.25}));
  EXPECT_EQ(script->rules[3], (FaultRule{.fault = Fault::kDisappear, .after = 5}));
  EXPECT_TRUE(ParseFaults("")->rules.empty());
  EXPECT_TRUE(ParseFaults("seed=3")->rules.empty());
}

TEST(ParseFaults, RefusesWithASentenceThatNamesThePart) {
  for (const char* bad : {"explode", "read", "read.", ".error", "disk.error", "read.error after",
                          "read.error after=", "read.error after=-1", "read.error after=1x",
                          "read.error every=0", "read.error chance=2", "read.error chance=nan",
                          "read.error often=3", "flush.short", "flush.flip", "seed=", "seed=x",
                          "read.error after=99999999999999999999", "seed=1 read.error"}) {
    const auto script = ParseFaults(bad);
    ASSERT_FALSE(script) << bad;
    EXPECT_EQ(script.error().status, Status::kInvalid);
    EXPECT_NE(script.error().message.find('"'), std::string::npos) << script.error().message;
  }
}

RC_GTEST_PROP(ParseFaults, NeverCrashes, (const std::string& text)) {
  const auto script = ParseFaults(text);
  RC_ASSERT(script || !script.error().message.empty());
}

TEST(FaultScript, OnlyAHoldTakesATime) {
  const auto script = ParseFaults("read.hold ms=250; hold");
  ASSERT_TRUE(script);
  EXPECT_EQ(script->rules[0].hold_ms, 250u);
  EXPECT_EQ(script->rules[1].hold_ms, std::numeric_limits<std::uint64_t>::max());
  EXPECT_FALSE(ParseFaults("read.hang ms=250"));
  EXPECT_FALSE(ParseFaults("hold ms=-1"));
}

TEST(FaultPlan, StrikesWhatTheScriptSays) {
  EXPECT_EQ(Struck("read.error after=10 count=3", Op::kRead, 30), (std::vector{11, 12, 13}));
  EXPECT_EQ(Struck("read.error after=10 count=3", Op::kWrite, 30), std::vector<int>{});
  EXPECT_EQ(Struck("error every=10", Op::kWrite, 30), (std::vector{10, 20, 30}));
  EXPECT_EQ(Struck("error after=5 every=10 count=2", Op::kRead, 100), (std::vector{15, 25}));
  EXPECT_EQ(Struck("flip", Op::kFlush, 3), std::vector<int>{});
}

TEST(FaultPlan, ChancesAreSeeded) {
  const auto once = Struck("error chance=0.1; seed=5", Op::kRead, 10'000);
  EXPECT_NEAR(static_cast<double>(once.size()), 1000, 150);
  EXPECT_EQ(once, Struck("error chance=0.1; seed=5", Op::kRead, 10'000));
  EXPECT_NE(once, Struck("error chance=0.1; seed=6", Op::kRead, 10'000));
}

TEST(FaultPlan, TheFirstStatementDecidesAndAllCount) {
  FaultPlan plan(ParseFaults("read.error every=2; hang every=3").value());
  std::uint64_t random = 0;
  std::vector<Fault> faults;
  for (int i = 0; i < 6; ++i) faults.push_back(plan.Next(Op::kRead, random));
  EXPECT_EQ(faults, (std::vector{Fault::kNone, Fault::kError, Fault::kHang, Fault::kError,
                                 Fault::kNone, Fault::kError}));
}

}  // namespace
}  // namespace kvpool::device
