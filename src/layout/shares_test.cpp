#include "layout/shares.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "layout/placement_laws.h"

namespace kvpool::layout {
namespace {

std::vector<DeviceRate> Devices(std::initializer_list<double> rates) {
  std::vector<DeviceRate> devices;
  for (const double rate : rates) devices.push_back({rate, kUnlimited, false});
  return devices;
}

double Sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

// Speeds up to 1:100 apart.
double AnyRate() { return std::exp(Any(0, 461) / 100.0) * 1e8; }

std::vector<DeviceRate> AnyDevices(int most, std::uint64_t units) {
  std::vector<DeviceRate> devices(Any(1, most + 1));
  for (DeviceRate& device : devices) {
    device.read_bytes_per_s = AnyRate();
    device.free_units = *rc::gen::arbitrary<bool>() ? kUnlimited : Any<std::uint64_t>(0, units + 1);
    device.scarce = Any(0, 4) == 0;
    device.remote = Any(0, 3) == 0;
  }
  return devices;
}

// Nested or disjoint: intervals of devices, cut from one another.
void AddLinks(int from, int to, int depth, std::vector<LinkRate>& links) {
  if (from >= to || depth == 0) return;
  if (*rc::gen::arbitrary<bool>()) {
    std::uint64_t mask = 0;
    for (int d = from; d < to; ++d) mask |= 1ull << d;
    links.push_back({AnyRate() * Any(1, 4), mask});
  }
  const int middle = Any(from, to);
  AddLinks(from, middle, depth - 1, links);
  AddLinks(middle, to, depth - 1, links);
}

std::vector<LinkRate> AnyLinks(std::size_t devices) {
  std::vector<LinkRate> links;
  AddLinks(0, static_cast<int>(devices), 3, links);
  return links;
}

// Every assignment of whole units.
double BestByTrying(std::uint64_t left, std::size_t device, std::vector<double>& shares,
                    std::span<const DeviceRate> devices, std::span<const LinkRate> links) {
  if (device + 1 == devices.size()) {
    if (left > devices[device].free_units) return INFINITY;
    shares[device] = static_cast<double>(left);
    return Makespan(shares, devices, links);
  }
  double best = INFINITY;
  for (std::uint64_t s = 0; s <= std::min(left, devices[device].free_units); ++s) {
    shares[device] = static_cast<double>(s);
    best = std::min(best, BestByTrying(left - s, device + 1, shares, devices, links));
  }
  return best;
}

RC_GTEST_PROP(WholeShares, FinishAsEarlyAsTheBestOfAllAssignments, ()) {
  const std::uint64_t units = Any<std::uint64_t>(0, 14);
  const auto devices = AnyDevices(4, units);
  const auto links = AnyLinks(devices.size());
  std::uint64_t room = 0;
  for (const DeviceRate& device : devices) room += device.free_units;
  const std::uint64_t dealt = std::min(units, room);

  const auto whole = WholeShares(units, devices, links);
  RC_ASSERT(std::accumulate(whole.begin(), whole.end(), std::uint64_t{0}) == dealt);
  for (std::size_t d = 0; d < devices.size(); ++d) RC_ASSERT(whole[d] <= devices[d].free_units);

  std::vector<double> trial(devices.size());
  const double best = BestByTrying(dealt, 0, trial, devices, links);
  const double reached = Makespan(std::vector<double>(whole.begin(), whole.end()), devices, links);
  RC_ASSERT(reached <= best * (1 + 1e-9));
}

// What no assignment can beat: for every set of devices, what the others cannot take must pass the
// set's own limits. By minimum cut, checked through the shares' own certificate: lowering the
// finish by a hair leaves no room for all units.
double MostWithin(double seconds, std::uint64_t group, std::span<const DeviceRate> devices,
                  std::span<const LinkRate> links) {
  // The largest link inside `group`, split off; the rest is free of links that straddle.
  const LinkRate* split = nullptr;
  for (const LinkRate& link : links) {
    if (link.device_mask == 0 || (link.device_mask & ~group) != 0) continue;
    if (split == nullptr || std::popcount(link.device_mask) > std::popcount(split->device_mask)) {
      split = &link;
    }
  }
  if (split == nullptr) {
    double sum = 0;
    for (std::size_t d = 0; d < devices.size(); ++d) {
      if (group >> d & 1) {
        sum += std::min(static_cast<double>(devices[d].free_units),
                        devices[d].read_bytes_per_s * seconds);
      }
    }
    return sum;
  }
  std::vector<LinkRate> others;
  for (const LinkRate& link : links) {
    if (&link != split) others.push_back(link);
  }
  return std::min(split->bytes_per_s * seconds,
                  MostWithin(seconds, split->device_mask, devices, others)) +
         MostWithin(seconds, group & ~split->device_mask, devices, others);
}

RC_GTEST_PROP(OptimalShares, SumHoldTheCapsAndCannotFinishEarlier, ()) {
  const double units = Any(1, 5000) + 0.5;
  const auto devices = AnyDevices(16, 2000);
  const auto links = AnyLinks(devices.size());
  double room = 0;
  for (const DeviceRate& device : devices) room += static_cast<double>(device.free_units);
  const double dealt = std::min(units, room);

  const auto shares = OptimalShares(units, devices, links);
  RC_ASSERT(std::abs(Sum(shares) - dealt) <= 1e-6 * (1 + dealt));
  for (std::size_t d = 0; d < devices.size(); ++d) {
    RC_ASSERT(shares[d] >= 0);
    RC_ASSERT(shares[d] <= static_cast<double>(devices[d].free_units) * (1 + 1e-9));
  }
  if (dealt == 0) return;
  const double finish = Makespan(shares, devices, links);
  const std::uint64_t all = (1ull << devices.size()) - 1;
  RC_ASSERT(MostWithin(finish * (1 - 1e-6), all, devices, links) < dealt);

  // Not a unit of memory more than the others leave over within that time, nor a unit of a remote
  // device more than those that cost less do.
  for (const int cost : {1, 2, 3}) {
    std::vector<DeviceRate> cheaper(devices);
    double spent = 0;
    for (std::size_t d = 0; d < devices.size(); ++d) {
      if (2 * devices[d].scarce + devices[d].remote < cost) continue;
      spent += shares[d];
      cheaper[d].free_units = 0;
    }
    RC_ASSERT(spent <= dealt - MostWithin(finish, all, cheaper, links) + 1e-6 * (1 + dealt));
  }
}

TEST(OptimalShares, FollowTheRates) {
  const auto shares = OptimalShares(4400, Devices({3000, 800, 400, 200}));
  EXPECT_NEAR(shares[0], 3000, 1e-6);
  EXPECT_NEAR(shares[1], 800, 1e-6);
  EXPECT_NEAR(shares[2], 400, 1e-6);
  EXPECT_NEAR(shares[3], 200, 1e-6);
}

TEST(OptimalShares, AFullDeviceLeavesTheRestToTheOthers) {
  auto devices = Devices({3000, 800, 200});
  devices[0].free_units = 100;
  const auto shares = OptimalShares(1100, devices);
  EXPECT_NEAR(shares[0], 100, 1e-6);
  EXPECT_NEAR(shares[1], 800, 1e-6);
  EXPECT_NEAR(shares[2], 200, 1e-6);
}

TEST(OptimalShares, MemoryIsSparedWhereALinkIsTheNarrowestPlace) {
  auto devices = Devices({3000, 800, 400});
  devices[0].scarce = true;
  const LinkRate link{1000, 0b111};
  const auto shares = OptimalShares(1000, devices, {&link, 1});
  EXPECT_NEAR(shares[0], 0, 1e-6);
  EXPECT_NEAR(shares[1] / shares[2], 2, 1e-6);  // and the others share the link by their rates
  EXPECT_NEAR(Sum(shares), 1000, 1e-6);
}

TEST(OptimalShares, TheWayFromAnotherNodeIsSparedBehindANarrowLink) {
  auto devices = Devices({3000, 3000, 800, 400});
  devices[0].scarce = devices[1].scarce = true;
  devices[1].remote = devices[3].remote = true;
  const LinkRate link{2000, 0b1111};
  const auto shares = OptimalShares(2000, devices, {&link, 1});
  EXPECT_NEAR(shares[2], 800, 1e-6);
  EXPECT_NEAR(shares[3], 400, 1e-6);  // a drive there rather than memory here
  EXPECT_NEAR(shares[0], 800, 1e-6);
  EXPECT_NEAR(shares[1], 0, 1e-6);
}

TEST(OptimalShares, NoDevicesOrNoUnits) {
  EXPECT_TRUE(OptimalShares(10, {}).empty());
  EXPECT_NEAR(Sum(OptimalShares(0, Devices({1, 2}))), 0, 0);
  EXPECT_TRUE(WholeShares(10, {}).empty());
}

}  // namespace
}  // namespace kvpool::layout
