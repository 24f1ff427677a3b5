// The catalog of a large pool, row by row. For benchmarks.
#pragma once

#include <cstdint>
#include <vector>

#include "catalog/catalog.h"

namespace kvpool::bench {

// Block n of a pool of equal blocks of whole units, dealt over equal drives in turn.
struct RowShape {
  std::uint32_t units = 8;
  std::uint32_t unit_bytes = 256 * 1024;
  std::uint32_t drives = 4;
  std::uint32_t chain = 256;  // blocks of a context
  std::uint32_t space = 1;
};

// As large a drive as `rows` blocks need, in whole slabs.
std::uint64_t DriveBytes(const RowShape& shape, std::uint64_t rows);

// The same row for the same n, whoever asks. Keys have 32 bytes, as vLLM's have; generations are
// n + 1; no two rows share a slot within DriveBytes.
catalog::BlockRow RowAt(const RowShape& shape, std::uint64_t n);

// Rows [begin, end) to be added.
std::vector<catalog::Change> Additions(const RowShape& shape, std::uint64_t begin,
                                       std::uint64_t end);

}  // namespace kvpool::bench
