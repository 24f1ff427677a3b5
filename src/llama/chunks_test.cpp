#include "llama/chunks.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string_view>

#include "llama/sha256.h"

namespace kvpool::llama {
namespace {

std::string Hex(const Digest& digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const std::uint8_t byte : digest) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

std::string HexOf(std::string_view text) {
  return Hex(Sha256({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}));
}

TEST(Sha256, GivesTheDigestsOfTheStandardsExamples) {
  EXPECT_EQ(HexOf("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(HexOf(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(HexOf("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(HexOf(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(ChunkKeys, CoverEveryTokenInFrontOfTheirEnd) {
  std::vector<std::int32_t> tokens(35);
  std::iota(tokens.begin(), tokens.end(), 1000);
  const auto keys = MakeKeys(tokens, 8);
  ASSERT_EQ(keys.size(), 4);
  tokens[8] += 1;
  const auto other = MakeKeys(tokens, 8);
  EXPECT_EQ(keys[0].whole, other[0].whole);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_NE(keys[i].whole, other[i].whole);
  EXPECT_EQ(keys[0].lacking, keys[0].whole + '-');
}

// The same number is in tests/engines/llama_cpp/test_store.py.
TEST(ChunkKeys, AreThoseOfThePythonPackage) {
  const std::vector<std::int32_t> tokens = {1, 2, 3, 70'000};
  Digest digest;
  const std::string key = MakeKeys(tokens, 2)[1].whole;
  std::copy(key.begin(), key.end(), digest.begin());
  EXPECT_EQ(Hex(digest), "15a3730b45d565068daad20594e78d98ca68f0733412eb583cd88f7bea4e22e2");
}

TEST(Prefixes, OfFullLayersNeedEveryChunk) {
  EXPECT_EQ(Promising({16, 0}, {true, true, true}), 3);
  EXPECT_EQ(Promising({16, 0}, {}), 0);
  EXPECT_EQ(Usable({16, 0}, std::vector{0, 16, 32}), 3);
  EXPECT_EQ(Usable({16, 0}, std::vector{0, 17, 32}), 1);
}

TEST(Prefixes, OfSlidingLayersNeedTheLastWindow) {
  const Shape shape{16, 40};
  EXPECT_EQ(Promising(shape, {false, false, false, true, true}), 5);
  EXPECT_EQ(Promising(shape, {false, false, false, true}), 0);
  EXPECT_EQ(Promising(shape, {false, false, false, false, true}), 0);
  EXPECT_EQ(Promising(shape, {true, true, false}), 2);

  EXPECT_EQ(Usable(shape, std::vector{16, 32, 41, 48, 64}), 5);
  EXPECT_EQ(Usable(shape, std::vector{16, 32, 42, 48, 64}), 0);
  EXPECT_EQ(Usable(shape, std::vector{0, 16, 48, 48, 80}), 2);
}

TEST(Prefixes, OfChunksLongerThanTheWindowNeedTheLastChunksEnd) {
  EXPECT_EQ(Usable({64, 16}, std::vector{48, 112}), 2);
  EXPECT_EQ(Usable({64, 16}, std::vector{48, 114}), 1);
  EXPECT_EQ(Promising({64, 16}, {false, true}), 2);
}

}  // namespace
}  // namespace kvpool::llama
