// Shares: how many units of a run each device should hold, so that reading them ends as early as
// can be. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "layout/extent.h"

namespace kvpool::layout {

struct DeviceRate {
  double read_bytes_per_s = 0;   // as seen from the destination; > 0
  std::uint64_t free_units = 0;  // it can take no more than this
  bool scarce = false;           // memory: spend as little as the best finish allows
  bool remote = false;           // on another NUMA node than the destination: spares the way there
  bool closed = false;           // takes nothing, free_units is 0: the others share its part
};

// What several devices share on the way. Links nest or are disjoint.
struct LinkRate {
  double bytes_per_s = 0;         // > 0
  std::uint64_t device_mask = 0;  // bit d: device d is behind it
};

// The real-valued optimum: shares that minimise max(s_i / r_i) and every link's sum/cap under
// sum s = units and s_i <= free_i. Sums to min(units, all free). Among equals, scarce devices hold
// least, and remote ones less than others that are as scarce. Water-filling without links,
// parametric max-flow on the tree with them.
std::vector<double> OptimalShares(double units, std::span<const DeviceRate> devices,
                                  std::span<const LinkRate> links = {});

// Whole units, same total, no device above its free units, makespan within one unit of the best
// whole-unit assignment.
std::vector<std::uint64_t> WholeShares(std::uint64_t units, std::span<const DeviceRate> devices,
                                       std::span<const LinkRate> links = {});

// max over devices of s_i / r_i and over links of their sum / cap, in units per (byte/s).
double Makespan(std::span<const double> shares, std::span<const DeviceRate> devices,
                std::span<const LinkRate> links = {});

}  // namespace kvpool::layout
