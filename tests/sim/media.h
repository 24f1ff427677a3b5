// Media: the bytes of one made-up module, with a volatile cache in front of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "tests/sim/random.h"

namespace kvpool::sim {

inline constexpr std::uint64_t kPageBytes = 4096;

// Reads see what was written last. A power cut takes back what no flush has covered: page by page
// it may be there, not there, torn at a sector, or as it was in between.
// Threads: one.
class Media {
 public:
  // `cached`: there is a volatile cache; else a crash is not asked about.
  Media(std::uint64_t capacity_bytes, bool cached);
  ~Media();
  Media(const Media&) = delete;
  Media& operator=(const Media&) = delete;

  std::byte* data() { return bytes_; }
  const std::byte* data() const { return bytes_; }
  std::uint64_t capacity_bytes() const { return capacity_bytes_; }

  void Write(std::uint64_t offset, std::span<const std::byte> bytes, Random& random);

  // What EndFlush of the returned number makes durable: all that was written until now.
  std::uint64_t BeginFlush() { return epoch_++; }
  void EndFlush(std::uint64_t epoch);

  void PowerCut(Random& random);
  // Everything that was ever written becomes noise: memory after the process.
  void Spoil(Random& random);

 private:
  // What a page held before a write, and in which epoch that write came.
  struct Before {
    std::uint64_t epoch;
    std::unique_ptr<std::byte[]> bytes;
  };
  void Keep(std::uint64_t page, Random& random);

  const std::uint64_t capacity_bytes_;
  const bool cached_;
  std::byte* bytes_;
  std::uint64_t epoch_ = 1;
  std::map<std::uint64_t, std::vector<Before>> unflushed_;  // by page, oldest first
  std::vector<bool> touched_;
};

}  // namespace kvpool::sim
