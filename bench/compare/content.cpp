#include "bench/compare/content.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/check.h"
#include "base/checksum.h"

namespace kvpool::bench {
namespace {

std::uint64_t Mix(std::uint64_t x) {  // SplitMix64's finaliser
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

std::uint64_t DigestOf(std::span<const std::byte> bytes) {
  return Digest({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace

void FillBlock(std::uint64_t seed, std::uint64_t block, std::span<std::byte> bytes) {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15;
  std::uint64_t state = Mix(Mix(seed + kGolden) ^ (block * kGolden + 1));
  for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    state += kGolden;
    const std::uint64_t word = Mix(state);
    std::memcpy(bytes.data() + i, &word, 8);
  }
}

void Poison(std::span<std::byte> bytes) {
  for (std::size_t i = 0; i < bytes.size(); i += 4096) {
    std::memset(bytes.data() + i, 0x5a, std::min<std::size_t>(64, bytes.size() - i));
  }
}

Content::Content(std::uint64_t seed, std::span<std::byte> buffer, std::uint64_t block_bytes)
    : seed_(seed), buffer_(buffer), block_bytes_(block_bytes) {
  KVPOOL_CHECK(block_bytes % 8 == 0 && buffer.size() % block_bytes == 0);
}

void Content::Fill() {
  const bool first = digests_.empty();
  for (std::uint64_t b = 0; b < blocks(); ++b) {
    FillBlock(seed_, b, Block(b));
    if (first) digests_.push_back(DigestOf(Block(b)));
  }
}

std::optional<std::uint64_t> Content::FirstWrongBlock(std::uint64_t blocks) const {
  for (std::uint64_t b = 0; b < blocks; ++b) {
    if (DigestOf(Block(b)) != digests_[b]) return b;
  }
  return std::nullopt;
}

}  // namespace kvpool::bench
