// Dealer: which device takes the next unit, so that every prefix, every slice and all slices so far
// of any prefix hold each device's share. The rule and its bounds: docs/placement.md.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "layout/extent.h"

namespace kvpool::layout {

// Deals one context block by block. Deterministic: the same shares and shape always give the same
// rows.
// Threads: one.
class Dealer {
 public:
  // shares: >= 0, sum > 0; only their ratios matter.
  Dealer(std::span<const double> shares, std::uint32_t units_per_block, std::uint32_t slices);

  // The devices of the next block's units.
  void DealBlock(std::span<DeviceIndex> row);

 private:
  struct Slice {
    std::uint32_t first_unit = 0;
    std::uint32_t units = 0;
  };

  std::vector<double> shares_;        // sum 1
  std::vector<double> weights_;       // what a unit too many costs
  std::vector<DeviceIndex> devices_;  // those with a share
  std::vector<Slice> slices_;
  std::vector<double> prefix_lag_;  // [device]: share less what it holds
  std::vector<double> slice_lag_;   // [slice][device]
  std::vector<double> corner_lag_;  // [slice][device]: slices 0..this of the blocks before
};

}  // namespace kvpool::layout
