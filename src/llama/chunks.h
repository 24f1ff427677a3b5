// Chunks: what names them, and which of them make a prefix that a sequence can go on from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kvpool/key.h"

namespace kvpool::llama {

// A chunk that lacks some of its sliding layers is stored under a key of its own, one byte longer:
// no prefix ends with it.
struct ChunkKeys {
  std::string whole;
  std::string lacking;
};

// One a full chunk; it covers every token up to the chunk's end.
std::vector<ChunkKeys> MakeKeys(std::span<const std::int32_t> tokens, std::size_t chunk_tokens);

struct Shape {
  std::int32_t chunk_tokens;
  std::int32_t window;  // of sliding layers; 0: there are none
};

// Of chunks that are in the pool (whole or not, in order): how many leading ones may be restored. A
// token behind them sees all of the full layers, and of the sliding ones the last window only; the
// first chunk in it may be there in part.
std::size_t Promising(Shape shape, const std::vector<bool>& whole);

// Of chunks that were loaded, by the first position of each that sliding layers have (its end where
// they have none): how many leading ones hold all that a token behind them sees.
std::size_t Usable(Shape shape, std::span<const std::int32_t> firsts);

}  // namespace kvpool::llama
