#include "device/file/fixed_buffers.h"

#include <algorithm>

namespace kvpool::device {
namespace {

bool JoinsPages(io_uring& ring) {
  io_uring_probe* probe = io_uring_get_probe_ring(&ring);
  if (probe == nullptr) return false;
  const bool takes = io_uring_opcode_supported(probe, kReadvFixed) != 0 &&
                     io_uring_opcode_supported(probe, kWritevFixed) != 0;
  io_uring_free_probe(probe);
  return takes;
}

}  // namespace

FixedBuffers::FixedBuffers(io_uring& ring, const mem::RegisteredMemory* memory)
    : ring_(ring), memory_(memory) {
  if (memory_ == nullptr) return;
  if (!JoinsPages(ring_) ||
      io_uring_register_buffers_sparse(&ring_, mem::RegisteredMemory::kMaxPieces) != 0) {
    memory_ = nullptr;
  }
}

bool FixedBuffers::Put(std::uint32_t place, std::span<std::byte> bytes) {
  const iovec buffer{bytes.data(), bytes.size()};
  const __u64 tag = 0;
  return io_uring_register_buffers_update_tag(&ring_, place, &buffer, &tag, 1) == 1;
}

void FixedBuffers::Update() {
  version_ = memory_->version();
  const auto pieces = memory_->pieces();
  std::vector<Buffer> kept;
  for (const Buffer& buffer : buffers_) {
    const bool stays = std::any_of(pieces.begin(), pieces.end(), [&](const auto& piece) {
      return piece.serial == buffer.serial;
    });
    if (stays) {
      kept.push_back(buffer);
    } else {
      Put(buffer.place, {});
    }
  }
  for (const auto& piece : pieces) {
    const bool known = std::any_of(kept.begin(), kept.end(), [&](const Buffer& buffer) {
      return piece.serial == buffer.serial;
    });
    if (known || !Put(piece.place, piece.bytes)) continue;
    kept.push_back(
        {piece.bytes.data(), piece.bytes.data() + piece.bytes.size(), piece.place, piece.serial});
  }
  std::sort(kept.begin(), kept.end(),
            [](const Buffer& a, const Buffer& b) { return a.begin < b.begin; });
  buffers_ = std::move(kept);
}

int FixedBuffers::IndexOf(std::span<const iovec> segments) const {
  if (buffers_.empty() || segments.empty()) return kNone;
  const auto* first = static_cast<const std::byte*>(segments.front().iov_base);
  const auto after =
      std::upper_bound(buffers_.begin(), buffers_.end(), first,
                       [](const std::byte* at, const Buffer& buffer) { return at < buffer.begin; });
  if (after == buffers_.begin()) return kNone;
  const Buffer& buffer = *std::prev(after);
  const bool inside = std::all_of(segments.begin(), segments.end(), [&](const iovec& segment) {
    const auto* at = static_cast<const std::byte*>(segment.iov_base);
    return at >= buffer.begin && at + segment.iov_len <= buffer.end;
  });
  return inside ? static_cast<int>(buffer.place) : kNone;
}

}  // namespace kvpool::device
