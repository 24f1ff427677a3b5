// Checksums of stored units: XXH3-64, seeded with what the bytes are meant to be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace kvpool {

// The seed of one unit's checksum. Bytes of another key, generation, unit or space never verify,
// even when they are intact, so a stale record that points at reused space is caught.
std::uint64_t ChecksumSeed(std::uint64_t space_digest, std::string_view key,
                           std::uint64_t generation);

// XXH3-64 over pieces of one unit. `seed` is ChecksumSeed's; `unit` its index in the block.
class UnitChecksum {
 public:
  UnitChecksum();
  ~UnitChecksum();
  UnitChecksum(const UnitChecksum&) = delete;
  UnitChecksum& operator=(const UnitChecksum&) = delete;

  void Begin(std::uint64_t seed, std::uint32_t unit);
  void Add(std::span<const std::byte> bytes);
  std::uint64_t End() const;

  // Begin, Add and End of a unit in one piece.
  std::uint64_t Of(std::uint64_t seed, std::uint32_t unit, std::span<const std::byte> bytes);

 private:
  void* state_;
};

// Plain XXH3-64, for digests of names, labels and configurations.
std::uint64_t Digest(std::string_view bytes, std::uint64_t seed = 0);

}  // namespace kvpool
