#include "pool/segments.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace kvpool::pool {

std::uint64_t TotalBytes(std::span<const Segment> segments) {
  std::uint64_t total = 0;
  for (const Segment& segment : segments) {
    if (__builtin_add_overflow(total, segment.bytes, &total)) return ~std::uint64_t{0};
  }
  return total;
}

void AppendPieces(std::span<const Segment> segments, std::uint64_t begin, std::uint64_t bytes,
                  std::vector<iovec>& pieces) {
  for (const Segment& segment : segments) {
    if (bytes == 0) return;
    if (begin >= segment.bytes) {
      begin -= segment.bytes;
      continue;
    }
    const std::uint64_t taken = std::min(bytes, segment.bytes - begin);
    pieces.push_back({segment.data + begin, taken});
    bytes -= taken;
    begin = 0;
  }
  KVPOOL_CHECK(bytes == 0);
}

bool AllAligned(std::span<const iovec> pieces, std::uint32_t alignment) {
  std::uintptr_t bits = 0;
  for (const iovec& piece : pieces) {
    bits |= reinterpret_cast<std::uintptr_t>(piece.iov_base) | piece.iov_len;
  }
  return (bits & (alignment - 1)) == 0;
}

void Gather(std::span<const iovec> pieces, std::byte* to) {
  for (const iovec& piece : pieces) {
    std::memcpy(to, piece.iov_base, piece.iov_len);
    to += piece.iov_len;
  }
}

void Scatter(const std::byte* from, std::span<const iovec> pieces) {
  for (const iovec& piece : pieces) {
    std::memcpy(piece.iov_base, from, piece.iov_len);
    from += piece.iov_len;
  }
}

}  // namespace kvpool::pool
