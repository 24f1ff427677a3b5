#include "layout/placer.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "layout/dealer.h"

namespace kvpool::layout {
namespace {

// From `from` to below `to`, all alike: rapidcheck by itself starts with small ones.
template <class T>
T Any(T from, T to) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<T>(from, to));
}

constexpr std::uint64_t kUnlimited = 1ull << 40;

// What docs/placement.md states: a device with share p of n units, one of D devices, holds p n but
// for so many units and p (D - 1). Of a prefix it lacks less than one.
constexpr double kPrefixLack = 1;
constexpr double kSliceBound = 4;
constexpr double kCornerBound = 7;

struct Shape {
  std::uint32_t blocks = 0;
  std::uint32_t units = 0;
  std::uint32_t slices = 0;
  std::uint32_t SliceOf(std::uint32_t unit) const {
    return static_cast<std::uint32_t>(std::uint64_t{unit} * slices / units);
  }
};

// The worst over all prefixes of whole blocks, in units.
struct Deviations {
  double prefix_lack = 0;
  double prefix_excess = 0;  // this and the others beyond p (D - 1)
  double slice = 0;
  double corner = 0;
  bool WithinBounds() const {
    return prefix_lack <= kPrefixLack + 1e-6 && prefix_excess <= 1e-6 && slice <= kSliceBound &&
           corner <= kCornerBound;
  }
};

std::vector<double> Normalised(std::vector<double> shares) {
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share /= sum;
  return shares;
}

// Calls visit(block, slice, units so far in the slice, in the corner, counts in each) for every
// prefix and slice.
template <class Visit>
void ForEachCorner(const Shape& shape, std::size_t devices, std::span<const DeviceIndex> dealt,
                   Visit&& visit) {
  std::vector<double> slice(shape.slices * devices, 0.0);
  std::vector<double> slice_units(shape.slices, 0.0);
  for (std::uint32_t k = 0; k < shape.blocks; ++k) {
    for (std::uint32_t u = 0; u < shape.units; ++u) {
      slice[shape.SliceOf(u) * devices + dealt[std::size_t{k} * shape.units + u]] += 1;
      slice_units[shape.SliceOf(u)] += 1;
    }
    std::vector<double> corner(devices, 0.0);
    double units = 0;
    for (std::uint32_t s = 0; s < shape.slices; ++s) {
      const std::span<const double> own(slice.data() + s * devices, devices);
      for (std::size_t d = 0; d < devices; ++d) corner[d] += own[d];
      units += slice_units[s];
      visit(k, s, slice_units[s], units, own, std::span<const double>(corner));
    }
  }
}

Deviations Measure(std::span<const double> shares, const Shape& shape,
                   std::span<const DeviceIndex> dealt) {
  Deviations worst;
  const auto raise = [](double& to, double value) { to = std::max(to, value); };
  ForEachCorner(shape, shares.size(), dealt,
                [&](std::uint32_t, std::uint32_t s, double slice_units, double units, auto slice,
                    auto corner) {
                  for (std::size_t d = 0; d < shares.size(); ++d) {
                    const double allowance = shares[d] * static_cast<double>(shares.size() - 1);
                    const double in_slice = slice[d] - shares[d] * slice_units;
                    const double in_corner = corner[d] - shares[d] * units;
                    raise(worst.slice, std::abs(in_slice) - allowance);
                    raise(worst.corner, std::abs(in_corner) - allowance);
                    if (s + 1 < shape.slices) continue;
                    raise(worst.prefix_lack, -in_corner);
                    raise(worst.prefix_excess, in_corner - allowance);
                  }
                });
  return worst;
}

std::vector<DeviceIndex> Deal(std::span<const double> shares, const Shape& shape) {
  Dealer dealer(shares, shape.units, shape.slices);
  std::vector<DeviceIndex> dealt(std::size_t{shape.blocks} * shape.units);
  for (std::uint32_t k = 0; k < shape.blocks; ++k) {
    dealer.DealBlock({dealt.data() + std::size_t{k} * shape.units, shape.units});
  }
  return dealt;
}

// Speeds up to `ratio` apart: all different, or a few kinds.
std::vector<double> AnyShares(int least, int most, double ratio) {
  std::vector<double> shares(Any(least, most + 1));
  const int kinds = Any(1, 6);
  std::vector<double> kind(kinds);
  for (double& speed : kind) speed = std::exp(std::log(ratio) * Any(0, 1001) / 1000);
  const bool mixed = *rc::gen::arbitrary<bool>();
  for (double& share : shares) {
    share = mixed ? kind[Any(0, kinds)] : std::exp(std::log(ratio) * Any(0, 1001) / 1000);
  }
  return Normalised(shares);
}

Shape AnyShape() {
  Shape shape;
  shape.slices = Any(1u, 65u);
  shape.units = Any(1u, 4u) * shape.slices + Any(0u, 3u);
  const std::uint32_t most = std::min(1000u, 12'000u / shape.units);
  shape.blocks = Any(1u, most + 1);
  return shape;
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

// --- Placer ---

std::vector<DeviceRate> Devices(const std::vector<double>& rates) {
  std::vector<DeviceRate> devices;
  for (const double rate : rates) devices.push_back({rate * 1e6, kUnlimited, false});
  return devices;
}

std::vector<DeviceIndex> Place(Placer& placer, const PlacementRequest& request) {
  std::vector<DeviceIndex> units(std::size_t{request.blocks} * request.units_per_block, 255);
  EXPECT_TRUE(placer.Place(request, units));
  return units;
}

RC_GTEST_PROP(Placer, PiecesOfAContextMakeTheWhole, ()) {
  const auto devices = Devices(AnyShares(1, 16, 100));
  const Shape shape = AnyShape();
  PlacementRequest request{.devices = devices,
                           .blocks = shape.blocks,
                           .units_per_block = shape.units,
                           .slices = shape.slices};
  Placer first;
  const auto whole = Place(first, request);
  Placer second;
  for (int piece = 0; piece < 10; ++piece) {
    request.first_ordinal = Any(0u, shape.blocks);
    request.blocks = Any(1u, shape.blocks - static_cast<std::uint32_t>(request.first_ordinal) + 1);
    const auto units = Place(second, request);
    RC_ASSERT(std::equal(units.begin(), units.end(),
                         whole.begin() + request.first_ordinal * shape.units));
  }
}

RC_GTEST_PROP(Placer, KeepsTheBoundsButForItsRounding, ()) {
  const auto shares = AnyShares(1, 16, 100);
  const auto devices = Devices(shares);
  const Shape shape = AnyShape();
  Placer placer;
  const auto dealt = Place(placer, {.devices = devices,
                                    .blocks = shape.blocks,
                                    .units_per_block = shape.units,
                                    .slices = shape.slices});
  const Deviations worst = Measure(shares, shape, dealt);
  const double rounding = 0.001 * shape.blocks * shape.units;
  RC_ASSERT(worst.prefix_lack <= kPrefixLack + rounding);
  RC_ASSERT(worst.prefix_excess <= rounding);
  RC_ASSERT(worst.slice <= kSliceBound + rounding);
  RC_ASSERT(worst.corner <= kCornerBound + rounding);
}

RC_GTEST_PROP(Placer, NeverExceedsTheFreeSpaceAndUsesAllOfIt, ()) {
  auto devices = Devices(AnyShares(1, 16, 100));
  const std::uint32_t units_per_block = Any(1u, 20u);
  const std::uint32_t blocks = Any(0u, 200u);
  const std::uint64_t needed = std::uint64_t{blocks} * units_per_block;
  std::uint64_t room = 0;
  for (DeviceRate& device : devices) {
    device.free_units = Any<std::uint64_t>(0, 3 * needed / devices.size() + 2);
    room += device.free_units;
  }
  std::vector<DeviceIndex> units(needed);
  Placer placer;
  RC_ASSERT(placer.Place({.devices = devices,
                          .first_ordinal = Any<std::uint64_t>(0, 1000),
                          .blocks = blocks,
                          .units_per_block = units_per_block,
                          .slices = Any(1u, 10u)},
                         units) == (needed <= room));
  if (needed > room) return;
  std::vector<std::uint64_t> held(devices.size(), 0);
  for (const DeviceIndex unit : units) {
    RC_ASSERT(unit < devices.size());
    ++held[unit];
  }
  for (std::size_t d = 0; d < devices.size(); ++d) RC_ASSERT(held[d] <= devices[d].free_units);
}

// A large request is dealt by the shares that fit it.
RC_GTEST_PROP(Placer, FullDevicesCostNoMoreThanTheyMust, ()) {
  auto devices = Devices(AnyShares(2, 8, 20));
  const std::uint32_t blocks = Any(128u, 1000u);
  const std::uint64_t needed = std::uint64_t{blocks} * 8;
  for (DeviceRate& device : devices) {
    if (Any(0, 2) == 0) device.free_units = Any<std::uint64_t>(0, needed);
  }
  devices[0].free_units = kUnlimited;
  Placer placer;
  const auto units =
      Place(placer, {.devices = devices, .blocks = blocks, .units_per_block = 8, .slices = 8});
  std::vector<double> held(devices.size(), 0.0);
  for (const DeviceIndex unit : units) ++held[unit];
  const double best = Makespan(OptimalShares(static_cast<double>(needed), devices), devices);
  RC_ASSERT(Makespan(held, devices) <= best * 1.02);
}

TEST(Placer, EqualRatesStripeAsRaid0Does) {
  for (const std::size_t count : {2, 4, 8}) {
    const auto devices = Devices(std::vector<double>(count, 700));
    Placer placer;
    const auto units =
        Place(placer, {.devices = devices, .blocks = 256, .units_per_block = 8, .slices = 8});
    for (std::size_t at = 0; at < units.size(); at += 8) {
      std::vector<std::size_t> held(count, 0);
      for (std::size_t u = 0; u < 8; ++u) ++held[units[at + u]];
      EXPECT_EQ(held, std::vector<std::size_t>(count, 8 / count));
    }
  }
}

TEST(Placer, MemoryIsSparedBehindANarrowLink) {
  auto devices = Devices({3000, 800, 400});
  devices[0].scarce = true;
  const LinkRate link{1000e6, 0b111};
  Placer placer;
  const auto units = Place(
      placer,
      {.devices = devices, .links = {&link, 1}, .blocks = 300, .units_per_block = 8, .slices = 8});
  EXPECT_EQ(std::count(units.begin(), units.end(), 0), 0);
  EXPECT_EQ(std::count(units.begin(), units.end(), 1), 1600);
}

TEST(Placer, RowsRepeatInBalanceFarOut) {
  const auto devices = Devices({3000, 800, 400, 200});
  Placer placer;
  std::vector<double> held(4, 0.0);
  const std::uint64_t start = 1'000'000'007;  // blocks
  const auto units = Place(placer, {.devices = devices,
                                    .first_ordinal = start,
                                    .blocks = 40'000,
                                    .units_per_block = 8,
                                    .slices = 8});
  for (const DeviceIndex unit : units) ++held[unit];
  const double ideal = static_cast<double>(units.size()) / 4400e6;
  EXPECT_LE(Makespan(held, devices), ideal * 1.002);
}

TEST(Placer, ManyDealsTakeTurnsInTheCache) {
  Placer placer;
  for (int round = 0; round < 3; ++round) {
    for (int kind = 1; kind <= 40; ++kind) {
      const auto devices = Devices({1000, 10.0 * kind});
      const auto units = Place(placer, {.devices = devices,
                                        .first_ordinal = 5,
                                        .blocks = 100,
                                        .units_per_block = 8,
                                        .slices = 8});
      const double ideal = 800 * 10.0 * kind / (1000 + 10.0 * kind);
      EXPECT_NEAR(static_cast<double>(std::count(units.begin(), units.end(), 1)), ideal, 2.5);
    }
  }
}

}  // namespace
}  // namespace kvpool::layout
