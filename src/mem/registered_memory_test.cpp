#include "mem/registered_memory.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace kvpool::mem {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

// Memory that nobody touches.
std::span<std::byte> At(std::uint64_t address, std::uint64_t bytes) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  return {reinterpret_cast<std::byte*>(address), bytes};
}

TEST(RegisteredMemory, CutsWhatIsLargeIntoPiecesThatJoin) {
  RegisteredMemory memory;
  ASSERT_TRUE(memory.Add(At(kGiB, 2 * kGiB + 4096)));
  const auto pieces = memory.pieces();
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[0].bytes.size(), kGiB);
  EXPECT_EQ(pieces[1].bytes.data(), pieces[0].bytes.data() + kGiB);
  EXPECT_EQ(pieces[2].bytes.size(), 4096u);
}

TEST(RegisteredMemory, TheVersionTellsOfEveryChange) {
  RegisteredMemory memory;
  std::array<std::byte, 4096> bytes{};
  const auto first = memory.version();
  memory.Add(bytes);
  const auto second = memory.version();
  EXPECT_NE(first, second);
  memory.Remove(bytes);
  EXPECT_NE(second, memory.version());
  EXPECT_TRUE(memory.pieces().empty());
}

TEST(RegisteredMemory, APlaceIsUsedAgainUnderANewSerial) {
  RegisteredMemory memory;
  std::array<std::byte, 4096> bytes{};
  memory.Add(bytes);
  const auto before = memory.pieces().at(0);
  memory.Remove(bytes);
  memory.Add(bytes);
  const auto after = memory.pieces().at(0);
  EXPECT_EQ(before.place, after.place);
  EXPECT_NE(before.serial, after.serial);
}

TEST(RegisteredMemory, TakesNoMoreThanItsTableHolds) {
  RegisteredMemory memory;
  ASSERT_TRUE(memory.Add(At(kGiB, (RegisteredMemory::kMaxPieces - 1) * kGiB)));
  EXPECT_FALSE(memory.Add(At(kGiB << 20, 2 * kGiB)));
  EXPECT_TRUE(memory.Add(At(kGiB << 20, kGiB)));
  std::set<std::uint32_t> places;
  for (const auto& piece : memory.pieces()) places.insert(piece.place);
  EXPECT_EQ(places.size(), RegisteredMemory::kMaxPieces);
  EXPECT_LT(*places.rbegin(), RegisteredMemory::kMaxPieces);
}

}  // namespace
}  // namespace kvpool::mem
