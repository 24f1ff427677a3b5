#include "layout/space_map.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

namespace kvpool::layout {
namespace {

// From `from` to below `to`, all alike: rapidcheck by itself starts with small ones.
template <class T>
T Any(T from, T to) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<T>(from, to));
}

constexpr std::uint32_t kUnit = 256 * kKiB;

// What SpaceMap promises, in the plainest way: a slab is a class and a set of slots.
class Model {
 public:
  Model(std::uint64_t first_byte, std::uint64_t slabs) : first_(first_byte), slabs_(slabs) {}

  struct Taken {
    std::uint32_t space = 0;
    std::uint32_t slot_bytes = 0;
  };

  std::uint64_t FreeSlots(std::uint32_t space, std::uint32_t slot_bytes) const {
    const std::uint64_t per_slab = kSlabBytes / slot_bytes;
    std::map<std::uint64_t, std::uint64_t> used;
    std::map<std::uint64_t, Taken> owner;
    for (const auto& [offset, taken] : taken_) {
      ++used[SlabOf(offset)];
      owner[SlabOf(offset)] = taken;
    }
    std::uint64_t free = (slabs_ - used.size()) * per_slab;
    for (const auto& [slab, count] : used) {
      const Taken& is = owner[slab];
      if (is.space == space && is.slot_bytes == slot_bytes) free += per_slab - count;
    }
    return free;
  }

  // Whether the slot may be taken now by the rules.
  bool MayTake(std::uint32_t space, std::uint32_t slot_bytes, std::uint64_t offset) const {
    if (offset < first_ || SlabOf(offset) >= slabs_) return false;
    const std::uint64_t within = (offset - first_) % kSlabBytes;
    if (within % slot_bytes != 0 || within + slot_bytes > kSlabBytes) return false;
    for (const auto& [other, taken] : taken_) {
      if (SlabOf(other) != SlabOf(offset)) continue;
      if (other == offset || taken.space != space || taken.slot_bytes != slot_bytes) return false;
    }
    return true;
  }

  void Take(std::uint32_t space, std::uint32_t slot_bytes, std::uint64_t offset) {
    RC_ASSERT(MayTake(space, slot_bytes, offset));
    taken_[offset] = {space, slot_bytes};
  }

  std::uint64_t UsedBytes() const {
    return std::accumulate(
        taken_.begin(), taken_.end(), std::uint64_t{0},
        [](std::uint64_t sum, const auto& t) { return sum + t.second.slot_bytes; });
  }

  std::map<std::uint64_t, Taken>& taken() { return taken_; }

 private:
  std::uint64_t SlabOf(std::uint64_t offset) const { return (offset - first_) / kSlabBytes; }

  std::uint64_t first_;
  std::uint64_t slabs_;
  std::map<std::uint64_t, Taken> taken_;
};

constexpr std::uint32_t kSizes[] = {32 * kKiB,  36 * kKiB, 132 * kKiB, 256 * kKiB,
                                    700 * kKiB, 1 * kMiB,  2 * kMiB};

std::uint32_t AnySize() {
  return *rc::gen::elementOf(std::vector(std::begin(kSizes), std::end(kSizes)));
}

RC_GTEST_PROP(SpaceMap, FollowsThePlainModel, ()) {
  const std::uint64_t first = Any<std::uint64_t>(0, 3) * kSlabBytes;
  const std::uint64_t slabs = Any<std::uint64_t>(0, 12);
  SpaceMap map(first, first + slabs * kSlabBytes);
  Model model(first, slabs);
  RC_ASSERT(map.capacity_bytes() == slabs * kSlabBytes);

  for (int step = Any(0, 60); step > 0; --step) {
    const std::uint32_t space = Any(0u, 3u);
    const std::uint32_t size = AnySize();
    switch (Any(0, 4)) {
      case 0: {
        const std::uint64_t offset =
            Any<std::uint64_t>(0, (slabs + 4) * kSlabBytes / (4 * kKiB)) * 4 * kKiB;
        const std::uint64_t slot_start = offset / size * size;
        const std::uint64_t probe = *rc::gen::arbitrary<bool>() ? slot_start : offset;
        const bool may = model.MayTake(space, size, probe);
        RC_ASSERT(map.Reserve(space, size, probe) == may);
        if (may) model.Take(space, size, probe);
        break;
      }
      case 1: {
        auto& taken = model.taken();
        for (int n = Any(0, 40); n > 0 && !taken.empty(); --n) {
          auto victim = taken.begin();
          std::advance(victim, *rc::gen::inRange<std::size_t>(0, taken.size()));
          map.Free(victim->first);
          taken.erase(victim);
        }
        break;
      }
      default: {
        const std::uint64_t free = model.FreeSlots(space, size);
        const std::uint64_t count = Any<std::uint64_t>(0, free + 3);
        std::vector<std::uint64_t> offsets{7};
        RC_ASSERT(map.Allocate(space, size, count, offsets) == (count <= free));
        RC_ASSERT(offsets.size() == (count <= free ? count + 1 : 1));
        RC_ASSERT(offsets[0] == 7u);
        for (std::size_t i = 1; i < offsets.size(); ++i) model.Take(space, size, offsets[i]);
      }
    }
    RC_ASSERT(map.used_bytes() == model.UsedBytes());
    for (const std::uint32_t any : kSizes) {
      RC_ASSERT(map.FreeSlots(space, any) == model.FreeSlots(space, any));
    }
  }
}

std::size_t Runs(const std::vector<std::uint64_t>& offsets, std::uint32_t slot_bytes) {
  std::size_t runs = offsets.empty() ? 0 : 1;
  for (std::size_t i = 1; i < offsets.size(); ++i)
    runs += offsets[i] != offsets[i - 1] + slot_bytes;
  return runs;
}

TEST(SpaceMap, OneRunWhereTheDeviceIsEmpty) {
  SpaceMap map(kSlabBytes, 101 * kSlabBytes);
  std::vector<std::uint64_t> offsets;
  for (const std::uint64_t count : {3, 100, 6, 6, 250}) {
    ASSERT_TRUE(map.Allocate(1, kUnit, count, offsets));
  }
  EXPECT_EQ(offsets.front(), kSlabBytes);
  EXPECT_EQ(Runs(offsets, kUnit), 1u);
}

TEST(SpaceMap, LongRunsComeBackAfterContextsGo) {
  SpaceMap map(0, 64 * kSlabBytes);
  std::vector<std::vector<std::uint64_t>> contexts(8);
  for (auto& context : contexts) ASSERT_TRUE(map.Allocate(1, kUnit, 64, context));
  for (const int gone : {2, 3, 4}) {
    for (const std::uint64_t offset : contexts[gone]) map.Free(offset);
  }
  std::vector<std::uint64_t> offsets;
  ASSERT_TRUE(map.Allocate(1, kUnit, 192, offsets));
  EXPECT_EQ(Runs(offsets, kUnit), 1u);
  EXPECT_FALSE(map.Allocate(1, kUnit, 1, offsets));
  EXPECT_EQ(offsets.size(), 192u);
}

TEST(SpaceMap, GapsAreFilledBeforeSlabsAreBrokenUp) {
  SpaceMap map(0, 4 * kSlabBytes);
  std::vector<std::uint64_t> first;
  ASSERT_TRUE(map.Allocate(1, kUnit, 16, first));
  for (const int gap : {1, 4, 5, 10}) map.Free(first[gap]);
  std::vector<std::uint64_t> more;
  ASSERT_TRUE(map.Allocate(1, kUnit, 4, more));
  EXPECT_EQ(map.FreeSlots(2, kSlabBytes), 2u);
}

TEST(SpaceMap, AContextThatArrivesInPiecesLiesInOnePiece) {
  SpaceMap map(0, 64 * kSlabBytes);
  std::vector<std::uint64_t> old;
  ASSERT_TRUE(map.Allocate(1, kUnit, 80, old));
  std::vector<std::uint64_t> offsets;
  ASSERT_TRUE(map.Allocate(1, kUnit, 12, offsets));
  for (const std::uint64_t offset : old) map.Free(offset);  // space before it
  ASSERT_TRUE(map.Allocate(1, kUnit, 30, offsets));
  EXPECT_EQ(Runs(offsets, kUnit), 1u);
}

TEST(SpaceMap, AGapThatHoldsAllIsTakenBeforeSmallerOnes) {
  SpaceMap map(0, kSlabBytes);
  std::vector<std::uint64_t> slots;
  ASSERT_TRUE(map.Allocate(1, kUnit, 8, slots));
  for (const int gap : {0, 2, 4, 5, 6}) map.Free(slots[gap]);
  std::vector<std::uint64_t> offsets;
  ASSERT_TRUE(map.Allocate(1, kUnit, 3, offsets));
  EXPECT_EQ(offsets, (std::vector{slots[4], slots[5], slots[6]}));
}

TEST(SpaceMap, ATerabyteIsNotScanned) {
  SpaceMap map(0, 1024 * kGiB);
  std::vector<std::uint64_t> offsets;
  const std::uint64_t all = map.FreeSlots(1, kSlabBytes);
  ASSERT_TRUE(map.Allocate(1, kSlabBytes, all, offsets));
  // Only the two ends are free: each call has to find one across half a million slabs.
  for (int i = 0; i < 200'000; ++i) {
    map.Free(offsets.front());
    map.Free(offsets.back());
    std::vector<std::uint64_t> two;
    ASSERT_TRUE(map.Allocate(1, kSlabBytes, 2, two));
  }
  EXPECT_EQ(map.FreeSlots(1, kSlabBytes), 0u);
}

TEST(SpaceMapDeathTest, FreeingTwiceIsABrokenInvariant) {
  SpaceMap map(0, kSlabBytes);
  std::vector<std::uint64_t> offsets;
  ASSERT_TRUE(map.Allocate(1, kUnit, 2, offsets));
  map.Free(offsets[0]);
  EXPECT_DEATH(map.Free(offsets[0]), "broken invariant");
  EXPECT_DEATH(map.Free(offsets[1] + kKiB), "broken invariant");
  map.Free(offsets[1]);
  EXPECT_DEATH(map.Free(offsets[1]), "broken invariant");
}

TEST(SpaceMap, RemembersNoClassThatHasNoSlab) {
  SpaceMap map(0, 4 * kSlabBytes);
  std::vector<std::uint64_t> offsets;
  ASSERT_TRUE(map.Allocate(0, kUnit, 1, offsets));
  for (std::uint32_t space = 1; space < 100; ++space) {
    offsets.resize(1);
    ASSERT_TRUE(map.Allocate(space, kUnit, 9, offsets));
    EXPECT_EQ(map.classes(), 2u);
    EXPECT_FALSE(map.Reserve(space + 1000, kUnit, offsets[1])) << "another's slab";
    for (std::size_t i = 1; i < offsets.size(); ++i) map.Free(offsets[i]);
    EXPECT_EQ(map.classes(), 1u);
  }
  EXPECT_EQ(map.used_bytes(), kUnit);
  EXPECT_EQ(map.FreeSlots(0, kUnit), 4 * kSlabBytes / kUnit - 1);
}

}  // namespace
}  // namespace kvpool::layout
