#include "mem/registered_memory.h"

#include <algorithm>

namespace kvpool::mem {

void RegisteredMemory::PinBy(std::shared_ptr<Pinner> pinner) {
  pinners_.push_back(std::move(pinner));
  FixPages();
}

bool RegisteredMemory::Add(std::span<std::byte> bytes) {
  for (const auto& pinner : pinners_) pinner->Pin(bytes);
  MutexLock lock(mutex_);
  const auto used = static_cast<std::uint64_t>(std::count_if(
      places_.begin(), places_.end(), [](const Piece& piece) { return !piece.bytes.empty(); }));
  if (used + (bytes.size() + kPieceBytes - 1) / kPieceBytes > kMaxPieces) return false;
  std::uint32_t place = 0;
  while (!bytes.empty()) {
    while (place < places_.size() && !places_[place].bytes.empty()) ++place;
    if (place == places_.size()) places_.emplace_back();
    const auto piece = bytes.first(std::min<std::uint64_t>(bytes.size(), kPieceBytes));
    places_[place] = {piece, place, next_serial_++};
    bytes = bytes.subspan(piece.size());
  }
  version_.fetch_add(1, std::memory_order_release);
  return true;
}

void RegisteredMemory::Remove(std::span<std::byte> bytes) {
  for (const auto& pinner : pinners_) pinner->Unpin(bytes);
  MutexLock lock(mutex_);
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min<std::uint64_t>(bytes.size(), kPieceBytes));
    const auto found = std::find_if(places_.begin(), places_.end(), [&](const Piece& one) {
      return one.bytes.data() == piece.data() && one.bytes.size() == piece.size();
    });
    if (found != places_.end()) *found = {};
    bytes = bytes.subspan(piece.size());
  }
  version_.fetch_add(1, std::memory_order_release);
}

void RegisteredMemory::Moved(std::span<std::byte> bytes) {
  MutexLock lock(mutex_);
  bool changed = false;
  for (Piece& piece : places_) {
    if (piece.bytes.empty() || !Overlap(piece, bytes)) continue;
    piece.serial = next_serial_++;
    changed = true;
  }
  if (changed) version_.fetch_add(1, std::memory_order_release);
}

bool RegisteredMemory::MayMove(std::span<const std::byte> bytes) const {
  if (!fixed_.load(std::memory_order_relaxed)) return true;
  MutexLock lock(mutex_);
  return std::none_of(places_.begin(), places_.end(), [&](const Piece& piece) {
    return !piece.bytes.empty() && Overlap(piece, bytes);
  });
}

std::vector<RegisteredMemory::Piece> RegisteredMemory::pieces() const {
  MutexLock lock(mutex_);
  std::vector<Piece> pieces;
  std::copy_if(places_.begin(), places_.end(), std::back_inserter(pieces),
               [](const Piece& piece) { return !piece.bytes.empty(); });
  return pieces;
}

}  // namespace kvpool::mem
