#include "bench/compare/layer_clock.h"

#include <algorithm>

namespace kvpool::bench {

std::optional<double> LayerClock::WorstRatio(double whole_s) const {
  if (layers_ < 2 || whole_s <= 0) return std::nullopt;
  double worst = 0;
  for (std::uint32_t j = 0; j < layers_; ++j) {
    const double share = (j + 1.0) / layers_;
    if (share <= 0.1) continue;
    const double at = j < at_s_.size() ? std::min(at_s_[j], whole_s) : whole_s;
    worst = std::max(worst, at / (share * whole_s));
  }
  return worst;
}

}  // namespace kvpool::bench
