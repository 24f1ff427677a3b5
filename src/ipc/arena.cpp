#include "ipc/arena.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"

namespace kvpool::ipc {

Arena::~Arena() {
  for (Chunk& chunk : chunks_) client_.RemoveRegion(chunk.region);
}

std::optional<Arena::Piece> Arena::TakeFrom(std::size_t index, std::uint64_t bytes) {
  auto& free = chunks_[index].free;
  const auto fitting =
      std::find_if(free.begin(), free.end(), [&](const auto& one) { return one.second >= bytes; });
  if (fitting == free.end()) return std::nullopt;
  const auto [offset, room] = *fitting;
  free.erase(fitting);
  if (room > bytes) free.emplace(offset + bytes, room - bytes);
  out_bytes_ += bytes;
  return Piece{index, offset, bytes};
}

std::optional<Arena::Piece> Arena::Take(std::uint64_t bytes) {
  bytes = (bytes + kIoAlignment - 1) / kIoAlignment * kIoAlignment;
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    if (const auto piece = TakeFrom(i, bytes)) return piece;
  }
  const std::uint64_t more = std::max(bytes, options_.chunk_bytes);
  if (!unused() && bytes_ + more > options_.limit_bytes) return std::nullopt;
  const bool data = options_.purpose == RegionPurpose::kData;
  auto region = client_.AddRegion(more, options_.purpose, -1, data);
  if (!region) return std::nullopt;
  const std::uint64_t room = (*region)->memory->bytes().size();
  bytes_ += room;
  chunks_.push_back({std::move(*region), {{0, room}}});
  return TakeFrom(chunks_.size() - 1, bytes);
}

void Arena::Give(const Piece& piece) {
  if (piece.bytes == 0) return;
  KVPOOL_CHECK(out_bytes_ >= piece.bytes);
  out_bytes_ -= piece.bytes;
  auto& free = chunks_[piece.chunk].free;
  auto at = free.emplace(piece.offset, piece.bytes).first;
  const auto next = std::next(at);
  if (next != free.end() && at->first + at->second == next->first) {
    at->second += next->second;
    free.erase(next);
  }
  if (at == free.begin()) return;
  const auto before = std::prev(at);
  if (before->first + before->second != at->first) return;
  before->second += at->second;
  free.erase(at);
}

std::byte* Arena::Address(const Piece& piece) const {
  return chunks_[piece.chunk].region->memory->bytes().data() + piece.offset;
}

}  // namespace kvpool::ipc
