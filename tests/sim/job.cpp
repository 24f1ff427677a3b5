#include "tests/sim/job.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>

#include "base/check.h"
#include "base/limits.h"

namespace kvpool::sim {
namespace {

std::vector<Arena*>& SpareArenas() {
  static std::vector<Arena*> spare;
  return spare;
}

std::map<const std::byte*, const Arena*>& AllArenas() {
  static std::map<const std::byte*, const Arena*> all;
  return all;
}

}  // namespace

Arena* Arena::Take() {
  if (SpareArenas().empty()) {
    auto* arena = new Arena;
    arena->bytes_ = static_cast<std::byte*>(std::aligned_alloc(kIoAlignment, kBytes));
    AllArenas()[arena->bytes_] = arena;
    return arena;
  }
  Arena* arena = SpareArenas().back();
  SpareArenas().pop_back();
  return arena;
}

void Arena::Give(Arena* arena) {
  arena->stays = false;
  SpareArenas().push_back(arena);
}

const Arena* Arena::Of(const void* address) {
  const auto* at = static_cast<const std::byte*>(address);
  const auto above = AllArenas().upper_bound(at);
  if (above == AllArenas().begin()) return nullptr;
  const Arena* arena = std::prev(above)->second;
  return at < arena->bytes_ + kBytes ? arena : nullptr;
}

Request& Job::request() {
  switch (kind) {
    case JobKind::kPut:
      return put;
    case JobKind::kGet:
      return get;
    case JobKind::kDrop:
      return drop;
    case JobKind::kFlush:
      break;
  }
  return flush;
}

void Job::CutSegments(std::span<const std::uint32_t> bytes, Random& random) {
  const std::uint64_t pieces = random.Between(1, 4);
  const std::uint64_t step = random.Chance(0.5) ? kIoAlignment : 1;
  std::uint64_t at = 0;
  for (const std::uint32_t total : bytes) {
    std::uint64_t left = total;
    for (std::uint64_t piece = 0; piece < pieces; ++piece) {
      at += step == 1 ? random.Below(100) : 0;
      std::uint64_t count = left;
      if (piece + 1 < pieces) count = random.Below(left / step + 1) * step;
      segments.push_back({arena->data() + at, count});
      left -= count;
      at = (at + count + step - 1) / step * step;
    }
  }
  KVPOOL_CHECK(at <= Arena::kBytes);
}

}  // namespace kvpool::sim
