#include "layout/dealer.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace kvpool::layout {

Dealer::Dealer(std::span<const double> shares, std::uint32_t units_per_block,
               std::uint32_t slices) {
  KVPOOL_CHECK(units_per_block > 0 && slices > 0);
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  KVPOOL_CHECK(sum > 0);
  for (std::size_t d = 0; d < shares.size(); ++d) {
    if (shares[d] <= 0) continue;
    devices_.push_back(static_cast<DeviceIndex>(d));
    shares_.push_back(shares[d] / sum);
  }
  for (std::uint32_t unit = 0, last = ~0u; unit < units_per_block; ++unit) {
    const auto slice = static_cast<std::uint32_t>(std::uint64_t{unit} * slices / units_per_block);
    if (slice != last) slices_.push_back({unit, 0});
    ++slices_.back().units;
    last = slice;
  }
  prefix_lag_.assign(shares_.size(), 0.0);
  slice_lag_.assign(shares_.size() * slices_.size(), 0.0);
  corner_lag_.assign(shares_.size() * slices_.size(), 0.0);
}

void Dealer::DealBlock(std::span<DeviceIndex> row) {
  const std::size_t n = shares_.size();
  std::vector<double> block_lag(n, 0.0);  // of this block so far
  for (std::size_t s = 0; s < slices_.size(); ++s) {
    double* const slice = slice_lag_.data() + s * n;
    double* const corner = corner_lag_.data() + s * n;
    for (std::uint32_t u = 0; u < slices_[s].units; ++u) {
      std::size_t best = 0;
      double best_lag = -1e300;
      for (std::size_t d = 0; d < n; ++d) {
        prefix_lag_[d] += shares_[d];
        slice[d] += shares_[d];
        block_lag[d] += shares_[d];
        const double lag = prefix_lag_[d] + slice[d] + corner[d] + block_lag[d];
        if (lag > best_lag) best = d, best_lag = lag;
      }
      prefix_lag_[best] -= 1;
      slice[best] -= 1;
      block_lag[best] -= 1;
      row[slices_[s].first_unit + u] = devices_[best];
    }
    for (std::size_t d = 0; d < n; ++d) corner[d] += block_lag[d];
  }
}

}  // namespace kvpool::layout
