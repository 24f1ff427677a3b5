// BitTree: a set of integers below a fixed size that finds the next member in a few steps.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvpool::layout {

// Bitmaps on bitmaps: bit i of a level says whether word i of the level below has a bit set.
// Threads: one.
class BitTree {
 public:
  static constexpr std::size_t kNone = ~std::size_t{0};

  // All of [0, size) are members.
  explicit BitTree(std::size_t size) {
    do {
      const std::size_t words = (size + 63) / 64;
      levels_.emplace_back(words, ~std::uint64_t{0});
      if (size % 64 != 0) levels_.back().back() = (std::uint64_t{1} << (size % 64)) - 1;
      size = words;
    } while (size > 1);
  }

  bool Has(std::size_t member) const { return levels_[0][member / 64] >> (member % 64) & 1; }

  void Insert(std::size_t member) {
    for (auto& level : levels_) {
      const bool was_empty = level[member / 64] == 0;
      level[member / 64] |= std::uint64_t{1} << (member % 64);
      if (!was_empty) return;
      member /= 64;
    }
  }

  void Remove(std::size_t member) {
    for (auto& level : levels_) {
      level[member / 64] &= ~(std::uint64_t{1} << (member % 64));
      if (level[member / 64] != 0) return;
      member /= 64;
    }
  }

  // The smallest member >= from, or kNone.
  std::size_t Next(std::size_t from) const {
    for (std::size_t height = 0; height < levels_.size(); ++height) {
      if (from / 64 >= levels_[height].size()) return kNone;
      const std::uint64_t word = levels_[height][from / 64] >> (from % 64);
      if (word != 0) return Descend(height, from + std::countr_zero(word));
      from = from / 64 + 1;
    }
    return kNone;
  }

 private:
  std::size_t Descend(std::size_t height, std::size_t member) const {
    while (height-- > 0) member = member * 64 + std::countr_zero(levels_[height][member]);
    return member;
  }

  std::vector<std::vector<std::uint64_t>> levels_;
};

}  // namespace kvpool::layout
