#include "llama/chunks.h"

#include <algorithm>

#include "llama/sha256.h"

namespace kvpool::llama {
namespace {

// The first position that a token at `end` sees of sliding layers.
std::int32_t Seen(Shape shape, std::int32_t end) {
  return shape.window == 0 ? 0 : std::max(0, end - shape.window + 1);
}

}  // namespace

std::vector<ChunkKeys> MakeKeys(std::span<const std::int32_t> tokens, std::size_t chunk_tokens) {
  std::vector<ChunkKeys> keys;
  std::vector<std::uint8_t> hashed;  // the chunk before, then this one's tokens, little-endian
  for (; tokens.size() >= chunk_tokens; tokens = tokens.subspan(chunk_tokens)) {
    for (const std::int32_t token : tokens.first(chunk_tokens)) {
      for (int shift = 0; shift < 32; shift += 8) {
        hashed.push_back(static_cast<std::uint8_t>(static_cast<std::uint32_t>(token) >> shift));
      }
    }
    const Digest digest = Sha256(hashed);
    hashed.assign(digest.begin(), digest.end());
    const std::string whole(digest.begin(), digest.end());
    keys.push_back({whole, whole + '-'});
  }
  return keys;
}

std::size_t Promising(Shape shape, const std::vector<bool>& whole) {
  std::size_t usable = 0;
  std::size_t run = 0;  // where the run of whole chunks begins
  for (std::size_t count = 1; count <= whole.size(); ++count) {
    if (!whole[count - 1]) run = count;
    const auto end = static_cast<std::int32_t>(count) * shape.chunk_tokens;
    const auto partial = static_cast<std::size_t>(Seen(shape, end) / shape.chunk_tokens) + 1;
    if (run <= std::min(partial, count - 1)) usable = count;
  }
  return usable;
}

std::size_t Usable(Shape shape, std::span<const std::int32_t> firsts) {
  std::size_t usable = 0;
  std::int32_t begin = 0;  // from there on the sliding layers have no gap
  std::int32_t end = 0;
  for (std::size_t i = 0; i < firsts.size(); ++i) {
    if (firsts[i] != end) begin = firsts[i];
    end += shape.chunk_tokens;
    if (begin <= Seen(shape, end) && begin < end) usable = i + 1;
  }
  return usable;
}

}  // namespace kvpool::llama
