#include "base/checksum.h"

#include <gtest/gtest.h>

#include <vector>

namespace kvpool {
namespace {

std::vector<std::byte> Bytes(std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i * 131 + 7);
  return bytes;
}

TEST(UnitChecksum, PiecesGiveWhatOnePieceGives) {
  const auto bytes = Bytes(10'000);
  UnitChecksum checksum;
  const auto whole = checksum.Of(5, 3, bytes);
  checksum.Begin(5, 3);
  checksum.Add(std::span(bytes).first(1));
  checksum.Add(std::span(bytes).subspan(1, 4095));
  checksum.Add(std::span(bytes).subspan(4096));
  EXPECT_EQ(checksum.End(), whole);
}

TEST(UnitChecksum, DiffersForAnotherKeyGenerationUnitSpaceOrBit) {
  auto bytes = Bytes(4096);
  UnitChecksum checksum;
  const auto seed = ChecksumSeed(1, "key", 1);
  const auto right = checksum.Of(seed, 0, bytes);
  EXPECT_NE(right, checksum.Of(ChecksumSeed(1, "kex", 1), 0, bytes));
  EXPECT_NE(right, checksum.Of(ChecksumSeed(1, "key", 2), 0, bytes));
  EXPECT_NE(right, checksum.Of(ChecksumSeed(2, "key", 1), 0, bytes));
  EXPECT_NE(right, checksum.Of(seed, 1, bytes));
  bytes[77] ^= std::byte{4};
  EXPECT_NE(right, checksum.Of(seed, 0, bytes));
}

}  // namespace
}  // namespace kvpool
