// Measure: what memory and a folder really give, in a second or two.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "bench/compare/contender.h"
#include "kvpool/result.h"

namespace kvpool::bench {

struct Speed {
  double read_bytes_per_s = 0;
  double write_bytes_per_s = 0;
};

// Writes one file of `bytes` and reads it back by O_DIRECT, many requests at once; where the
// filesystem refuses O_DIRECT, through the page cache, dropped in between. Removes the file.
Result<Speed> MeasureFolder(const std::filesystem::path& folder, std::uint64_t bytes,
                            std::uint64_t seed);

// One thread copying `bytes` in 1 MiB pieces, the best of three; more than the caches hold when
// `bytes` is. 0 when memory is short.
double MeasureMemory(std::uint64_t bytes);

// One thread checksumming `bytes` unit by unit, as a verifying pool does on every read.
Sample MeasureChecksums(std::span<const std::byte> bytes, std::uint64_t unit_bytes);

}  // namespace kvpool::bench
