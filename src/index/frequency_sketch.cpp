#include "index/frequency_sketch.h"

#include <algorithm>
#include <bit>

namespace kvpool::index {
namespace {

constexpr std::uint8_t kMaxCount = 15;
constexpr std::uint64_t kAddsPerHalving = 10;  // of one counter a row: a sample of ten widths

}  // namespace

std::size_t FrequencySketch::Place(std::uint64_t hash, std::size_t row) const {
  const std::uint64_t mixed = (hash ^ (hash >> 32)) * (0x9e3779b97f4a7c15ULL + 2 * row);
  return row * width_ + (mixed >> 32) % width_;
}

void FrequencySketch::Fit(std::size_t hashes) {
  if (hashes <= width_) return;
  width_ = std::bit_ceil(std::max<std::size_t>(hashes, 1024));
  counters_.assign(kRows * width_, 0);
  sweep_ = 0;
}

void FrequencySketch::Add(std::uint64_t hash) {
  for (std::size_t row = 0; row < kRows; ++row) {
    std::uint8_t& counter = counters_[Place(hash, row)];
    if (counter < kMaxCount) ++counter;
  }
  // The paper halves all counters at once after a sample; a little at a time never pauses.
  if (++added_ % kAddsPerHalving != 0) return;
  for (std::size_t row = 0; row < kRows; ++row) counters_[row * width_ + sweep_] /= 2;
  sweep_ = (sweep_ + 1) % width_;
}

std::uint32_t FrequencySketch::Estimate(std::uint64_t hash) const {
  std::uint32_t least = kMaxCount;
  for (std::size_t row = 0; row < kRows; ++row) {
    least = std::min<std::uint32_t>(least, counters_[Place(hash, row)]);
  }
  return least;
}

}  // namespace kvpool::index
