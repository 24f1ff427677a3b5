// The laws of placement as a check, for tests: what docs/placement.md states.
#pragma once

#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

#include "layout/extent.h"

namespace kvpool::layout {

// From `from` to below `to`, all alike: rapidcheck by itself starts with small ones.
template <class T>
T Any(T from, T to) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<T>(from, to));
}

inline constexpr std::uint64_t kUnlimited = 1ull << 40;

// What docs/placement.md states: a device with share p of n units, one of D devices, holds p n but
// for so many units and p (D - 1). Of a prefix it lacks less than one.
inline constexpr double kPrefixLack = 1;
inline constexpr double kSliceBound = 4;
inline constexpr double kCornerBound = 7;

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

inline std::vector<double> Normalised(std::vector<double> shares) {
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

inline Deviations Measure(std::span<const double> shares, const Shape& shape,
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

// Speeds up to `ratio` apart: all different, or a few kinds.
inline std::vector<double> AnyShares(int least, int most, double ratio) {
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

inline Shape AnyShape() {
  Shape shape;
  shape.slices = Any(1u, 65u);
  shape.units = Any(1u, 4u) * shape.slices + Any(0u, 3u);
  const std::uint32_t most = std::min(1000u, 12'000u / shape.units);
  shape.blocks = Any(1u, most + 1);
  return shape;
}

}  // namespace kvpool::layout
