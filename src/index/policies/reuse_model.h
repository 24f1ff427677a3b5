// ReuseModel: when blocks of a class come back, learned from what happens.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace kvpool::index {

// By what the future of a block is told: how often it was used (1, 2, 3, 4-7, 8-15, 16-31, more),
// and whether it is the end of its chain that nothing continued: such a block is rarely whole, and
// the next turn of the conversation has another one in its place.
using BlockClass = std::uint8_t;
inline constexpr BlockClass kEndOfChain = 7;
inline constexpr std::size_t kBlockClasses = 8;
BlockClass ClassOfUses(std::uint32_t uses);

// Ages are counted in block references and sorted into bins, four an octave.
inline constexpr std::size_t kAgeBins = 128;
std::size_t AgeBin(std::uint64_t age);
double AgeBinBegin(std::size_t bin);

// One life table a class: of the blocks that reached an age unused, the share that was used at it.
// Where few were seen, the estimate leans on all classes together, scaled by how much livelier the
// class is, and those lean on the bin before: without any knowledge the older block is worth less.
// Threads: one at a time.
class ReuseModel {
 public:
  ReuseModel();

  void AddUse(BlockClass block_class, std::uint64_t age) { uses_[block_class][AgeBin(age)] += 1; }
  // Seen up to `age` and then lost sight of.
  void AddEnd(BlockClass block_class, std::uint64_t age) { ends_[block_class][AgeBin(age)] += 1; }
  // Blocks that are still being watched; counted anew for each Learn.
  void ClearWatched();
  void AddWatched(BlockClass block_class, std::uint64_t age, double number) {
    watched_[block_class][AgeBin(age)] += number;
  }

  // Takes what was added into the values, and lets it weigh `fade` as much from now on.
  void Learn(double fade);

  // What keeping such a block is worth: the best ratio, over all horizons, of the chance that it is
  // used before the horizon to the references it would stay for until then (its Gittins index).
  double Value(BlockClass block_class, std::uint64_t age) const {
    return values_[block_class][AgeBin(age)];
  }

 private:
  using Row = std::array<double, kAgeBins>;
  using Table = std::array<Row, kBlockClasses>;

  double Seen(std::size_t block_class, std::size_t bin) const;
  Row PooledHazard() const;
  Row HazardOf(std::size_t block_class, const Row& pooled) const;
  static Row ValuesOf(const Row& hazard);

  Table uses_{};
  Table ends_{};
  Table watched_{};
  Table values_{};
};

}  // namespace kvpool::index
