#include "layout/shares.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "base/limits.h"

namespace kvpool::layout {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Whole units in `limit`, forgiving what rounding may have cost it.
double WholeOf(double limit) { return std::floor(limit * (1 + 1e-12) + 1e-9); }

double SumOf(std::span<const double> values, std::uint64_t mask) {
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (mask >> i & 1) sum += values[i];
  }
  return sum;
}

// The links as a forest above the devices: the maximum flow to one root through a forest is a sum
// from the leaves up, cut at every link.
class Tree {
 public:
  Tree(std::span<const DeviceRate> devices, std::span<const LinkRate> links)
      : devices_(devices), parent_of_device_(devices.size(), kRoot) {
    KVPOOL_CHECK(devices.size() <= kMaxDevices);
    for (const LinkRate& link : links) links_.push_back(link);
    std::sort(links_.begin(), links_.end(), [](const LinkRate& a, const LinkRate& b) {
      return std::popcount(a.device_mask) < std::popcount(b.device_mask);
    });
    parent_of_link_.assign(links_.size(), kRoot);
    for (std::size_t i = 0; i < links_.size(); ++i) {
      parent_of_link_[i] = SmallestAround(links_[i].device_mask, i + 1);
    }
    for (std::size_t d = 0; d < devices.size(); ++d) {
      parent_of_device_[d] = SmallestAround(std::uint64_t{1} << d, 0);
    }
  }

  // The most units that can be read within `seconds`; `whole` counts only whole ones.
  double FlowWithin(double seconds, bool whole) const {
    std::vector<double> through(links_.size(), 0.0);
    double total = 0;
    const auto add = [&](std::size_t parent, double flow) {
      (parent == kRoot ? total : through[parent]) += flow;
    };
    for (std::size_t d = 0; d < devices_.size(); ++d) {
      add(parent_of_device_[d], DeviceLimit(d, seconds, whole));
    }
    for (std::size_t i = 0; i < links_.size(); ++i) {
      add(parent_of_link_[i], std::min(through[i], LinkLimit(i, seconds, whole)));
    }
    return total;
  }

  double DeviceLimit(std::size_t device, double seconds, bool whole) const {
    const double limit = std::min(static_cast<double>(devices_[device].free_units),
                                  devices_[device].read_bytes_per_s * seconds);
    return whole ? WholeOf(limit) : limit;
  }
  double LinkLimit(std::size_t link, double seconds, bool whole) const {
    const double limit = links_[link].bytes_per_s * seconds;
    return whole ? WholeOf(limit) : limit;
  }

  // The shortest time within which `units` can be read; all of them must fit.
  double TimeFor(double units, bool whole) const {
    double low = 0;
    double high = 0;
    for (const DeviceRate& device : devices_) {
      const double most = std::min(static_cast<double>(device.free_units), units);
      high = std::max(high, most / device.read_bytes_per_s);
    }
    for (const LinkRate& link : links_) high = std::max(high, units / link.bytes_per_s);
    while (FlowWithin(high, whole) < units) high *= 1 + 1e-12;
    for (int step = 0; step < 200 && high - low > high * 1e-15; ++step) {
      const double middle = low + (high - low) / 2;
      (FlowWithin(middle, whole) < units ? low : high) = middle;
    }
    return high;
  }

  // Room for device `d` on its links, given what they carry already.
  double LinkRoom(std::size_t device, std::span<const double> shares, double seconds,
                  bool whole) const {
    double room = kInfinity;
    for (std::size_t i = parent_of_device_[device]; i != kRoot; i = parent_of_link_[i]) {
      room = std::min(room, LinkLimit(i, seconds, whole) - SumOf(shares, links_[i].device_mask));
    }
    return room;
  }

  std::span<const LinkRate> links() const { return links_; }

 private:
  static constexpr std::size_t kRoot = ~std::size_t{0};

  std::size_t SmallestAround(std::uint64_t mask, std::size_t from) const {
    for (std::size_t i = from; i < links_.size(); ++i) {
      if ((links_[i].device_mask & mask) == mask) return i;
    }
    return kRoot;
  }

  std::span<const DeviceRate> devices_;
  std::vector<LinkRate> links_;  // smaller ones first
  std::vector<std::size_t> parent_of_device_;
  std::vector<std::size_t> parent_of_link_;
};

// Raises the devices of `members` together, each in proportion to its rate, until `units` are
// dealt; one stops when it is full, when `seconds` pass or when one of its links carries no more.
class Filler {
 public:
  Filler(const Tree& tree, std::span<const DeviceRate> devices, double seconds)
      : tree_(tree), devices_(devices), seconds_(seconds), shares_(devices.size(), 0.0) {}

  void Fill(std::uint64_t members, double units) {
    double left = units - std::accumulate(shares_.begin(), shares_.end(), 0.0);
    while (members != 0 && left > 0) {
      double rate = 0;
      for (std::size_t d = 0; d < shares_.size(); ++d) {
        if (members >> d & 1) rate += devices_[d].read_bytes_per_s;
      }
      const double step = std::min(left / rate, StepUntilOneStops(members));
      for (std::size_t d = 0; d < shares_.size(); ++d) {
        if (members >> d & 1) shares_[d] += devices_[d].read_bytes_per_s * step;
      }
      left -= rate * step;
      members = StillRising(members);
    }
  }

  std::vector<double> Take() { return std::move(shares_); }

 private:
  double StepUntilOneStops(std::uint64_t members) const {
    double step = kInfinity;
    for (std::size_t d = 0; d < shares_.size(); ++d) {
      if (!(members >> d & 1)) continue;
      const double room = tree_.DeviceLimit(d, seconds_, false) - shares_[d];
      step = std::min(step, std::max(0.0, room) / devices_[d].read_bytes_per_s);
    }
    for (const LinkRate& link : tree_.links()) {
      double rate = 0;
      for (std::size_t d = 0; d < shares_.size(); ++d) {
        if ((members & link.device_mask) >> d & 1) rate += devices_[d].read_bytes_per_s;
      }
      if (rate == 0) continue;
      const double room = link.bytes_per_s * seconds_ - SumOf(shares_, link.device_mask);
      step = std::min(step, std::max(0.0, room) / rate);
    }
    return step;
  }

  std::uint64_t StillRising(std::uint64_t members) const {
    for (std::size_t d = 0; d < shares_.size(); ++d) {
      const double limit = tree_.DeviceLimit(d, seconds_, false);
      if (limit - shares_[d] <= 1e-12 * limit) members &= ~(std::uint64_t{1} << d);
    }
    for (const LinkRate& link : tree_.links()) {
      const double limit = link.bytes_per_s * seconds_;
      if (limit - SumOf(shares_, link.device_mask) <= 1e-12 * limit) members &= ~link.device_mask;
    }
    return members;
  }

  const Tree& tree_;
  std::span<const DeviceRate> devices_;
  double seconds_;
  std::vector<double> shares_;
};

double Fitting(double units, std::span<const DeviceRate> devices) {
  double room = 0;
  for (const DeviceRate& device : devices) room += static_cast<double>(device.free_units);
  return std::min(units, room);
}

// What a unit there spends that others may need more.
int CostOf(const DeviceRate& device) { return 2 * device.scarce + device.remote; }
constexpr int kCosts = 4;

// The next unit: where it costs least, then who lags its real share most.
std::size_t NextForWhole(const Tree& tree, std::span<const DeviceRate> devices,
                         std::span<const double> whole, std::span<const double> real,
                         double seconds) {
  std::size_t best = devices.size();
  for (std::size_t d = 0; d < devices.size(); ++d) {
    if (tree.DeviceLimit(d, seconds, true) < whole[d] + 1) continue;
    if (tree.LinkRoom(d, whole, seconds, true) < 1) continue;
    if (best == devices.size()) {
      best = d;
    } else if (CostOf(devices[d]) != CostOf(devices[best])) {
      if (CostOf(devices[d]) < CostOf(devices[best])) best = d;
    } else if (real[d] - whole[d] > real[best] - whole[best]) {
      best = d;
    }
  }
  return best;
}

}  // namespace

std::vector<double> OptimalShares(double units, std::span<const DeviceRate> devices,
                                  std::span<const LinkRate> links) {
  units = Fitting(units, devices);
  const Tree tree(devices, links);
  std::uint64_t by_cost[kCosts] = {};
  for (std::size_t d = 0; d < devices.size(); ++d) {
    by_cost[CostOf(devices[d])] |= std::uint64_t{1} << d;
  }
  Filler filler(tree, devices, units > 0 ? tree.TimeFor(units, false) : 0);
  for (const std::uint64_t devices_of_cost : by_cost) {
    if (units > 0) filler.Fill(devices_of_cost, units);
  }
  return filler.Take();
}

std::vector<std::uint64_t> WholeShares(std::uint64_t units, std::span<const DeviceRate> devices,
                                       std::span<const LinkRate> links) {
  std::vector<std::uint64_t> result(devices.size(), 0);
  const double total = Fitting(static_cast<double>(units), devices);
  if (total <= 0) return result;

  const Tree tree(devices, links);
  const double seconds = tree.TimeFor(total, true);
  const std::vector<double> real = OptimalShares(total, devices, links);
  std::vector<double> whole(devices.size());
  for (std::size_t d = 0; d < devices.size(); ++d) whole[d] = WholeOf(real[d]);
  // Whatever lies within the limits of `seconds` can be completed within them: such sets of shares
  // form a polymatroid.
  double left = total - std::accumulate(whole.begin(), whole.end(), 0.0);
  for (; left >= 0.5; --left) {
    const std::size_t d = NextForWhole(tree, devices, whole, real, seconds);
    KVPOOL_CHECK(d < devices.size());
    whole[d] += 1;
  }
  for (std::size_t d = 0; d < devices.size(); ++d) {
    result[d] = static_cast<std::uint64_t>(whole[d]);
  }
  return result;
}

double Makespan(std::span<const double> shares, std::span<const DeviceRate> devices,
                std::span<const LinkRate> links) {
  double slowest = 0;
  for (std::size_t d = 0; d < shares.size(); ++d) {
    slowest = std::max(slowest, shares[d] / devices[d].read_bytes_per_s);
  }
  for (const LinkRate& link : links) {
    slowest = std::max(slowest, SumOf(shares, link.device_mask) / link.bytes_per_s);
  }
  return slowest;
}

}  // namespace kvpool::layout
