#include "layout/dealer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace kvpool::layout {
namespace {

// Found by search over random shares and shapes: docs/placement.md has the table.
constexpr double kCornerPart = 0.7;      // of the lead; the rest is the half's own
constexpr double kWeightExponent = 0.5;  // between units (0) and seconds (1)
constexpr double kUnaffordable = std::numeric_limits<double>::infinity();

std::size_t Cheapest(std::span<const double> costs) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < costs.size(); ++i) {
    if (costs[i] < costs[best]) best = i;
  }
  return best;
}

}  // namespace

Dealer::Dealer(std::span<const double> shares, std::uint32_t units_per_block,
               std::uint32_t slices) {
  KVPOOL_CHECK(units_per_block > 0 && slices > 0);
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  KVPOOL_CHECK(sum > 0);
  for (std::size_t d = 0; d < shares.size(); ++d) {
    if (shares[d] <= 0) continue;
    devices_.push_back(static_cast<DeviceIndex>(d));
    shares_.push_back(shares[d] / sum);
    period_.push_back(sum / shares[d]);
    weight_.push_back(std::pow(sum / shares[d], kWeightExponent));
  }
  std::vector<std::uint32_t> slice_units(slices, 0);
  for (std::uint32_t unit = 0; unit < units_per_block; ++unit) {
    ++slice_units[std::uint64_t{unit} * slices / units_per_block];
  }
  std::erase(slice_units, 0u);  // more slices than units
  Build(slice_units, 0, 0);

  const std::size_t n = shares_.size();
  std::uint32_t deepest = 0;
  for (const Node& node : nodes_) deepest = std::max(deepest, node.depth);
  tallies_.resize(nodes_.size() * n);
  dealt_.assign(n, 0.0);
  counts_.assign((deepest + 1) * n, 0.0);
  before_.assign(n, 0.0);
  finish_ = period_;
  cost_.assign(n, 0.0);
}

std::uint32_t Dealer::Build(std::span<const std::uint32_t> slice_units, std::uint32_t first_unit,
                            std::uint32_t depth) {
  const auto index = static_cast<std::uint32_t>(nodes_.size());
  nodes_.emplace_back();
  Node node;
  node.depth = depth;
  node.units = std::accumulate(slice_units.begin(), slice_units.end(), 0u);
  if (slice_units.size() > 1) {
    const auto left = slice_units.first(slice_units.size() / 2);
    node.left_units = std::accumulate(left.begin(), left.end(), 0u);
    node.border = first_unit + node.left_units;
    Build(left, first_unit, depth + 1);
    node.right = Build(slice_units.subspan(left.size()), node.border, depth + 1);
  }
  nodes_[index] = node;
  return index;
}

void Dealer::DealBlock(std::span<DeviceIndex> row) {
  KVPOOL_CHECK(row.size() == nodes_[0].units);
  row_ = row;
  blocks_ += 1;
  CountBlock();
  Split(0);
  KVPOOL_CHECK(row_.empty());
}

// Each unit to the device that would have read it first: what it holds and this one, at its rate.
// No assignment of whole units to devices ends any prefix earlier.
void Dealer::CountBlock() {
  const std::size_t n = shares_.size();
  double* const counts = CountsAt(0);
  std::fill_n(counts, n, 0.0);
  for (std::size_t u = 0; u < row_.size(); ++u) {
    const std::size_t d = Cheapest(finish_);
    counts[d] += 1;
    dealt_[d] += 1;
    finish_[d] = (dealt_[d] + 1) * period_[d];
  }
}

void Dealer::Split(std::uint32_t index) {
  const Node node = nodes_[index];
  if (node.left_units == 0) return WriteSlice(node);
  const std::size_t n = shares_.size();
  const double* const counts = CountsAt(node.depth);
  double* const half = CountsAt(node.depth + 1);

  ChooseFirstHalf(index);
  Split(index + 1);
  for (std::size_t d = 0; d < n; ++d) {
    before_[d] += half[d];
    half[d] = counts[d] - half[d];
  }
  Split(node.right);
  for (std::size_t d = 0; d < n; ++d) before_[d] -= counts[d] - half[d];
}

// Of the node's units the first half's go, one by one, to the device that leads its share by least:
// in the corner before the border, and in this half against the node.
void Dealer::ChooseFirstHalf(std::uint32_t index) {
  const Node node = nodes_[index];
  const std::size_t n = shares_.size();
  const double* const counts = CountsAt(node.depth);
  double* const half = CountsAt(node.depth + 1);
  Tally* const tally = tallies_.data() + std::size_t{index} * n;

  const double corner_units = node.border * blocks_;
  const double fraction = static_cast<double>(node.left_units) / node.units;
  for (std::size_t d = 0; d < n; ++d) {
    half[d] = 0;
    tally[d].units += counts[d];
    tally[d].corner += before_[d];
    const double lead = kCornerPart * (tally[d].corner - shares_[d] * corner_units) +
                        (1 - kCornerPart) * (tally[d].left - fraction * tally[d].units);
    cost_[d] = counts[d] > 0 ? (lead + 1) * weight_[d] : kUnaffordable;
  }
  for (std::uint32_t u = 0; u < node.left_units; ++u) {
    const std::size_t d = Cheapest(cost_);
    half[d] += 1;
    cost_[d] = half[d] < counts[d] ? cost_[d] + weight_[d] : kUnaffordable;
  }
  for (std::size_t d = 0; d < n; ++d) {
    tally[d].left += half[d];
    tally[d].corner += half[d];
  }
}

void Dealer::WriteSlice(const Node& slice) {
  const double* const counts = CountsAt(slice.depth);
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    const auto count = static_cast<std::size_t>(counts[d]);
    std::fill_n(row_.begin(), count, devices_[d]);
    row_ = row_.subspan(count);
  }
}

}  // namespace kvpool::layout
