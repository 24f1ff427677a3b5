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

namespace {

// Calls `each` with every part of a segment, and its bytes, that [begin, begin + bytes) of their
// concatenation lies in.
template <class Each>
void ForEachPart(std::span<const Segment> segments, std::uint64_t begin, std::uint64_t bytes,
                 Each&& each) {
  for (const Segment& segment : segments) {
    if (bytes == 0) return;
    if (begin >= segment.bytes) {
      begin -= segment.bytes;
      continue;
    }
    const std::uint64_t taken = std::min(bytes, segment.bytes - begin);
    each(segment, segment.data + begin, taken);
    bytes -= taken;
    begin = 0;
  }
  KVPOOL_CHECK(bytes == 0);
}

void AddRun(const gpu::Run& run, std::vector<gpu::Run>& runs) {
  gpu::Run* const last = runs.empty() ? nullptr : &runs.back();
  if (last != nullptr && last->host + last->bytes == run.host &&
      last->gpu + last->bytes == run.gpu) {
    last->bytes += run.bytes;
  } else {
    runs.push_back(run);
  }
}

}  // namespace

void AppendPieces(std::span<const Segment> segments, std::uint64_t begin, std::uint64_t bytes,
                  std::vector<iovec>& pieces) {
  ForEachPart(segments, begin, bytes, [&](const Segment&, std::byte* data, std::uint64_t taken) {
    pieces.push_back({data, taken});
  });
}

void AppendRuns(std::span<const Segment> segments, std::uint64_t begin, std::uint64_t bytes,
                gpu::Direction direction, std::byte* host, std::vector<gpu::Run>& runs) {
  ForEachPart(segments, begin, bytes,
              [&](const Segment& segment, std::byte* data, std::uint64_t taken) {
                if (segment.kind == MemoryKind::kGpu) {
                  AddRun({host, data, taken}, runs);
                } else if (direction == gpu::Direction::kToGpu) {
                  std::memcpy(data, host, taken);
                } else {
                  std::memcpy(host, data, taken);
                }
                host += taken;
              });
}

Status FindGpu(std::span<const Segment> segments,
               std::span<const std::shared_ptr<gpu::Stager>> gpus, int& gpu) {
  gpu = -1;
  // Pages of a cache lie in few allocations: the driver is asked about each of these, not each
  // page.
  std::vector<gpu::Range> known;
  for (const Segment& segment : segments) {
    if (segment.kind != MemoryKind::kGpu || segment.bytes == 0) continue;
    if (gpus.empty()) return Status::kUnsupported;
    const auto holds = [&](const gpu::Range& range) {
      return range.Holds(segment.data, segment.bytes);
    };
    if (std::any_of(known.rbegin(), known.rend(), holds)) continue;
    for (std::size_t i = 0; i < gpus.size(); ++i) {
      if (gpu >= 0 && gpu != static_cast<int>(i)) continue;
      const gpu::Range range = gpus[i]->RangeAround(segment.data);
      if (!holds(range)) continue;
      gpu = static_cast<int>(i);
      known.push_back(range);
      break;
    }
    if (known.empty() || !holds(known.back())) return Status::kInvalid;
  }
  return Status::kOk;
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
