// Where the bytes of a unit lie in a caller's segments.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "gpu/stager.h"
#include "kvpool/request.h"

namespace kvpool::pool {

// The segments of one key: every key of a request has the same number of them.
inline std::span<const Segment> SegmentsOf(std::span<const Segment> all, std::size_t keys,
                                           std::size_t key) {
  const std::size_t per_key = all.size() / keys;
  return all.subspan(key * per_key, per_key);
}

std::uint64_t TotalBytes(std::span<const Segment> segments);

// Appends bytes [begin, begin + bytes) of the concatenated segments to `pieces`.
void AppendPieces(std::span<const Segment> segments, std::uint64_t begin, std::uint64_t bytes,
                  std::vector<iovec>& pieces);

// The same of segments on a GPU: appends the runs that `host`, which has the bytes, is copied to or
// from, neighbours as one. What lies in host memory among them is copied at once.
void AppendRuns(std::span<const Segment> segments, std::uint64_t begin, std::uint64_t bytes,
                gpu::Direction direction, std::byte* host, std::vector<gpu::Run>& runs);

// Which of `gpus` the segments lie on, -1 where all are host memory. kUnsupported: there are
// segments on a GPU and no GPU. kInvalid: they are on several, or not in one's memory.
Status FindGpu(std::span<const Segment> segments,
               std::span<const std::shared_ptr<gpu::Stager>> gpus, int& gpu);

// Every address and length is a multiple of `alignment`, a power of two.
bool AllAligned(std::span<const iovec> pieces, std::uint32_t alignment);

void Gather(std::span<const iovec> pieces, std::byte* to);
void Scatter(const std::byte* from, std::span<const iovec> pieces);

}  // namespace kvpool::pool
