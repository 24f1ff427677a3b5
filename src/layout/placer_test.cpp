#include "layout/placer.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>

#include "layout/placement_laws.h"

namespace kvpool::layout {
namespace {

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
  const double divisors = 2.0 * static_cast<double>(devices.size()) / static_cast<double>(needed);
  RC_ASSERT(Makespan(held, devices) <= best * (1 + divisors));
}

TEST(Placer, ADeviceThatRunsFullIsUsedEvenlyUntilThen) {
  auto devices = Devices({3000, 800, 400, 200});
  devices[0].free_units = 2000;  // of a share of 5,585
  Placer placer;
  const auto units =
      Place(placer, {.devices = devices, .blocks = 1024, .units_per_block = 8, .slices = 8});
  EXPECT_EQ(std::count(units.begin(), units.end(), 0), 2000);
  EXPECT_NEAR(static_cast<double>(std::count(units.begin(), units.begin() + 4096, 0)), 1000, 4);
}

TEST(Placer, ASmallRequestThatFindsADeviceFullGoesToTheNextBest) {
  auto devices = Devices({3000, 800, 400, 200});
  devices[0].free_units = 1;
  Placer placer;
  const auto units =
      Place(placer, {.devices = devices, .blocks = 4, .units_per_block = 8, .slices = 8});
  std::vector<double> held(4, 0.0);
  for (const DeviceIndex unit : units) ++held[unit];
  EXPECT_EQ(held[0], 1);
  std::vector<DeviceRate> others(devices.begin() + 1, devices.end());
  const auto best = WholeShares(31, others);
  for (std::size_t d = 1; d < 4; ++d) {
    EXPECT_NEAR(held[d], static_cast<double>(best[d - 1]), 1) << d;
  }
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
