// FrequencySketch: how often a hash was seen lately, roughly: a count-min sketch of four rows with
// small counters that age.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvpool::index {

// Threads: one at a time.
class FrequencySketch {
 public:
  // Sized for about `hashes` different ones; forgets everything when it has to grow.
  void Fit(std::size_t hashes);
  void Add(std::uint64_t hash);
  std::uint32_t Estimate(std::uint64_t hash) const;

 private:
  static constexpr std::size_t kRows = 4;
  std::size_t Place(std::uint64_t hash, std::size_t row) const;

  std::vector<std::uint8_t> counters_;  // kRows rows of width_
  std::size_t width_ = 0;               // a power of two
  std::uint64_t added_ = 0;
  std::size_t sweep_ = 0;
};

}  // namespace kvpool::index
