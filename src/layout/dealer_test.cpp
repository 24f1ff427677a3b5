#include "layout/dealer.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "layout/placement_laws.h"
#include "layout/shares.h"

namespace kvpool::layout {
namespace {

std::vector<DeviceIndex> Deal(std::span<const double> shares, const Shape& shape) {
  Dealer dealer(shares, shape.units, shape.slices);
  std::vector<DeviceIndex> dealt(std::size_t{shape.blocks} * shape.units);
  for (std::uint32_t k = 0; k < shape.blocks; ++k) {
    dealer.DealBlock({dealt.data() + std::size_t{k} * shape.units, shape.units});
  }
  return dealt;
}

RC_GTEST_PROP(Dealer, KeepsPrefixesSlicesAndCornersWithinTheStatedBounds, ()) {
  const auto shares = AnyShares(1, 16, 100);
  const Shape shape = AnyShape();
  const Deviations worst = Measure(shares, shape, Deal(shares, shape));
  RC_ASSERT(worst.prefix_lack <= kPrefixLack + 1e-6);
  RC_ASSERT(worst.prefix_excess <= 1e-6);
  RC_ASSERT(worst.slice <= kSliceBound);
  RC_ASSERT(worst.corner <= kCornerBound);
}

RC_GTEST_PROP(Dealer, NoWholeUnitsEndAPrefixEarlier, ()) {
  const auto shares = AnyShares(1, 16, 100);
  Shape shape = AnyShape();
  shape.blocks = std::min(shape.blocks, 60u);
  const auto dealt = Deal(shares, shape);
  std::vector<DeviceRate> devices;
  for (const double share : shares) devices.push_back({share, kUnlimited, false});
  std::vector<double> held(shares.size(), 0.0);
  for (std::uint32_t k = 0; k < shape.blocks; ++k) {
    for (std::uint32_t u = 0; u < shape.units; ++u) ++held[dealt[std::size_t{k} * shape.units + u]];
    const auto best = WholeShares(std::uint64_t{k + 1} * shape.units, devices);
    const std::vector<double> whole(best.begin(), best.end());
    RC_ASSERT(Makespan(held, devices) <= Makespan(whole, devices) * (1 + 1e-9));
  }
}

// --- rules that must not pass: the check can fail ---

// Among the devices whose share allows one more, the one whose unit is due first; by prefix only.
std::vector<DeviceIndex> DealInSequence(std::span<const double> shares, const Shape& shape) {
  std::vector<double> held(shares.size(), 0.0);
  std::vector<DeviceIndex> dealt;
  for (std::size_t n = 1; n <= std::size_t{shape.blocks} * shape.units; ++n) {
    std::size_t first = shares.size();
    double due = INFINITY;
    for (std::size_t d = 0; d < shares.size(); ++d) {
      const double lag = shares[d] * static_cast<double>(n) - held[d];
      const double slack = 1.0 - 1.0 / (2.0 * static_cast<double>(shares.size()) - 2.0);
      if (lag < 1 - slack) continue;
      const double deadline = (held[d] + slack) / shares[d];
      if (deadline < due) due = deadline, first = d;
    }
    if (first == shares.size()) first = 0;
    held[first] += 1;
    dealt.push_back(static_cast<DeviceIndex>(first));
  }
  return dealt;
}

// Every block by itself, as if none had gone before.
std::vector<DeviceIndex> DealEachBlockAlone(std::span<const double> shares, const Shape& shape) {
  std::vector<DeviceIndex> dealt;
  for (std::uint32_t k = 0; k < shape.blocks; ++k) {
    const auto row = Deal(shares, {1, shape.units, shape.slices});
    dealt.insert(dealt.end(), row.begin(), row.end());
  }
  return dealt;
}

TEST(DealerControl, DealingInSequenceStarvesSlices) {
  const Shape shape{1024, 8, 8};
  const std::vector<double> equal(4, 0.25);
  const Deviations worst = Measure(equal, shape, DealInSequence(equal, shape));
  EXPECT_LE(worst.prefix_lack, kPrefixLack);
  EXPECT_FALSE(worst.WithinBounds());
  EXPECT_NEAR(worst.slice, 768, 3);  // all of a slice on one device
}

TEST(DealerControl, RoundingEachBlockStarvesSlowDevices) {
  const Shape shape{1024, 8, 8};
  const auto shares = Normalised({3000, 800, 400, 200});
  const Deviations worst = Measure(shares, shape, DealEachBlockAlone(shares, shape));
  EXPECT_GT(worst.prefix_lack, 100);
  EXPECT_FALSE(worst.WithinBounds());
}

// --- what it means for a retrieval ---

// Speed that is reached, over the sum of all.
struct Reached {
  double prefix = 1;   // worst prefix from 5 % of the context
  double layers = 1;   // of the whole context: worst j past the first tenth, share over time
  double corners = 1;  // both at once: any such j of any such prefix
  void Merge(const Reached& other) {
    prefix = std::min(prefix, other.prefix);
    layers = std::min(layers, other.layers);
    corners = std::min(corners, other.corners);
  }
};

Reached Speed(std::span<const double> shares, const Shape& shape,
              std::span<const DeviceIndex> dealt) {
  Reached worst;
  ForEachCorner(shape, shares.size(), dealt,
                [&](std::uint32_t k, std::uint32_t s, double, double units, auto, auto corner) {
                  double time = 0;
                  for (std::size_t d = 0; d < shares.size(); ++d) {
                    time = std::max(time, corner[d] / shares[d]);
                  }
                  const double speed = units / time;
                  if ((k + 1) * 20 < shape.blocks || (s + 1) * 10 < shape.slices) return;
                  worst.corners = std::min(worst.corners, speed);
                  if (s + 1 == shape.slices) worst.prefix = std::min(worst.prefix, speed);
                  if (k + 1 == shape.blocks) worst.layers = std::min(worst.layers, speed);
                });
  return worst;
}

constexpr Shape kSmallBlocks{1024, 8, 8};   // 2 GiB of LLaMA-3.1-8B, 16 tokens a block
constexpr Shape kLargeBlocks{64, 128, 32};  // 256 tokens a block, 32 layers

TEST(Dealer, TableOfReachedSpeeds) {
  struct Case {
    const char* name;
    std::vector<double> rates;
  };
  const Case cases[] = {
      {"3000/800/400/200", {3000, 800, 400, 200}},
      {"3000/3000/800/400/200", {3000, 3000, 800, 400, 200}},
      {"800/400/200", {800, 400, 200}},
      {"four equal", {1, 1, 1, 1}},
      {"20/1", {20, 1}},
      {"20/1/1/1/1/1/1/1", {20, 1, 1, 1, 1, 1, 1, 1}},
      {"100 and fifteen of 1", {100, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}}};
  std::printf("%-24s %-14s %8s %8s %8s | %6s %6s %6s\n", "shares", "blocks", "prefix", "layers",
              "both", "lack", "slice", "corner");
  for (const Case& c : cases) {
    for (const Shape& shape : {kSmallBlocks, kLargeBlocks}) {
      const auto shares = Normalised(c.rates);
      const auto dealt = Deal(shares, shape);
      const Reached speed = Speed(shares, shape, dealt);
      const Deviations off = Measure(shares, shape, dealt);
      std::printf("%-24s %4u of %-4u    %8.4f %8.4f %8.4f | %6.2f %6.2f %6.2f\n", c.name,
                  shape.blocks, shape.units, speed.prefix, speed.layers, speed.corners,
                  off.prefix_lack, off.slice, off.corner);
      EXPECT_GE(speed.layers, 1 / 1.1) << c.name;
      if (&c == &cases[0]) {
        EXPECT_GE(speed.prefix, 0.99);
      }
    }
  }
}

RC_GTEST_PROP(Dealer, ReachesTheSumOfSpeeds, ()) {
  const auto shares = AnyShares(2, 8, 20);
  const Shape shape = *rc::gen::arbitrary<bool>() ? kSmallBlocks : kLargeBlocks;
  const Reached speed = Speed(shares, shape, Deal(shares, shape));
  RC_ASSERT(speed.prefix >= 0.97);
  RC_ASSERT(speed.layers >= 1 / 1.05);
}

}  // namespace
}  // namespace kvpool::layout
