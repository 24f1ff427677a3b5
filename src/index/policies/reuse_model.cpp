#include "index/policies/reuse_model.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace kvpool::index {
namespace {

constexpr unsigned kFirstBits = 4;  // ages below 16 share a bin

// How many observed blocks the prior knowledge weighs as much as.
constexpr double kBeforeWeight = 64;  // the bin before
constexpr double kPooledWeight = 64;  // all classes
constexpr double kRatioWeight = 5;    // every class as lively as the others
constexpr double kFirstHazard = 0.01;

}  // namespace

BlockClass ClassOfUses(std::uint32_t uses) {
  if (uses < 4) return static_cast<BlockClass>(std::max(uses, 1u) - 1);
  return static_cast<BlockClass>(std::min(static_cast<int>(std::bit_width(uses)), 6));
}

std::size_t AgeBin(std::uint64_t age) {
  if (age >> kFirstBits == 0) return 0;
  const auto octave = static_cast<unsigned>(std::bit_width(age)) - 1;
  const std::uint64_t quarter = age >> (octave - 2) & 3;
  return std::min<std::size_t>(1 + (octave - kFirstBits) * 4 + quarter, kAgeBins - 1);
}

double AgeBinBegin(std::size_t bin) {
  if (bin == 0) return 0;
  const std::size_t octave = (bin - 1) / 4 + kFirstBits;
  return std::ldexp(1.0 + static_cast<double>((bin - 1) % 4) / 4, static_cast<int>(octave));
}

ReuseModel::ReuseModel() { Learn(1); }

void ReuseModel::ClearWatched() { watched_ = {}; }

double ReuseModel::Seen(std::size_t block_class, std::size_t bin) const {
  return uses_[block_class][bin] + ends_[block_class][bin] + watched_[block_class][bin];
}

void ReuseModel::Learn(double fade) {
  const Row pooled = PooledHazard();
  for (std::size_t c = 0; c < kBlockClasses; ++c) {
    values_[c] = ValuesOf(HazardOf(c, pooled));
    for (double& uses : uses_[c]) uses *= fade;
    for (double& ends : ends_[c]) ends *= fade;
  }
}

ReuseModel::Row ReuseModel::PooledHazard() const {
  Row used{};
  Row reached{};
  double so_far = 0;
  for (std::size_t bin = kAgeBins; bin-- > 0;) {
    for (std::size_t c = 0; c < kBlockClasses; ++c) {
      used[bin] += uses_[c][bin];
      so_far += Seen(c, bin);
    }
    reached[bin] = so_far;
  }
  Row hazard;
  double before = kFirstHazard;
  for (std::size_t bin = 0; bin < kAgeBins; ++bin) {
    before = (used[bin] + kBeforeWeight * before) / (reached[bin] + kBeforeWeight);
    hazard[bin] = before;
  }
  return hazard;
}

ReuseModel::Row ReuseModel::HazardOf(std::size_t block_class, const Row& pooled) const {
  Row reached;
  double so_far = 0;
  double used = 0;
  double expected = 0;
  for (std::size_t bin = kAgeBins; bin-- > 0;) {
    so_far += Seen(block_class, bin);
    reached[bin] = so_far;
    used += uses_[block_class][bin];
    expected += so_far * pooled[bin];
  }
  const double livelier = (used + kRatioWeight) / (expected + kRatioWeight);
  Row hazard;
  for (std::size_t bin = 0; bin < kAgeBins; ++bin) {
    const double prior = std::min(livelier * pooled[bin], 0.99);
    hazard[bin] =
        (uses_[block_class][bin] + kPooledWeight * prior) / (reached[bin] + kPooledWeight);
  }
  return hazard;
}

ReuseModel::Row ReuseModel::ValuesOf(const Row& hazard) {
  struct Stretch {  // of ages, seen from its beginning
    double used;    // chance to be used in it
    double stay;    // expected references until it ends or the block is used
    double left;    // chance to leave it unused
  };
  // From the end: a horizon reaches on as long as what follows is worth more than what it has.
  Row values;
  std::array<Stretch, kAgeBins> later;
  std::size_t count = 0;
  for (std::size_t bin = kAgeBins; bin-- > 0;) {
    const double width = AgeBinBegin(bin + 1) - AgeBinBegin(bin);
    Stretch here{hazard[bin], (1 - hazard[bin] / 2) * width, 1 - hazard[bin]};
    while (count > 0 && later[count - 1].used * here.stay > here.used * later[count - 1].stay) {
      const Stretch& next = later[--count];
      here.used += here.left * next.used;
      here.stay += here.left * next.stay;
      here.left *= next.left;
    }
    values[bin] = here.used / here.stay;
    later[count++] = here;
  }
  return values;
}

}  // namespace kvpool::index
