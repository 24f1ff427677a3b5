#include "device/memory/owned_pages.h"

#include <sys/mman.h>

#include "device/device.h"

namespace kvpool::device {
namespace {

constexpr int kDontNeedLocked = 24;  // MADV_DONTNEED_LOCKED, of Linux 5.18

void GiveBack(std::span<std::byte> pages) {
  if (::madvise(pages.data(), pages.size(), kDontNeedLocked) == 0) return;
  ::munlock(pages.data(), pages.size());
  ::madvise(pages.data(), pages.size(), MADV_DONTNEED);
}

}  // namespace

OwnedPages::OwnedPages(std::span<std::byte> common, const Options& options)
    : common_(common),
      options_(options),
      owners_(common.size() / kSlabBytes),
      bases_(common.size() / kSlabBytes) {
  for (auto& base : bases_) base.store(common.data(), std::memory_order_relaxed);
}

bool OwnedPages::Own(std::uint64_t offset, std::uint64_t bytes, std::uint32_t owner) {
  const std::uint64_t last = (offset + bytes - 1) / kSlabBytes;
  for (std::uint64_t slab = offset / kSlabBytes; slab <= last; ++slab) {
    if (owners_[slab].load(std::memory_order_acquire) == owner) continue;
    MutexLock lock(MutexOf(slab));
    if (owners_[slab].load(std::memory_order_relaxed) != owner && !Move(slab, owner)) return false;
  }
  return true;
}

bool OwnedPages::Move(std::uint64_t slab, std::uint32_t owner) {
  const mem::LentMemory* lent = Of(owner);
  std::byte* const base = lent == nullptr ? common_.data() : lent->bytes().data();
  if (bases_[slab].load(std::memory_order_relaxed) != base) {
    Empty(slab);
    if (lent != nullptr) {
      const std::uint64_t offset = slab * kSlabBytes;
      if (!lent->Fill(offset, kSlabBytes)) {
        lent->Drop(offset, kSlabBytes);
        return false;
      }
    }
    bases_[slab].store(base, std::memory_order_release);
  }
  owners_[slab].store(owner, std::memory_order_release);
  return true;
}

// The common memory is behind it then, and nobody's.
void OwnedPages::Empty(std::uint64_t slab) {
  const std::uint64_t offset = slab * kSlabBytes;
  const std::uint32_t owner = owners_[slab].load(std::memory_order_relaxed);
  if (bases_[slab].load(std::memory_order_relaxed) == common_.data()) {
    GiveBack(common_.subspan(offset, kSlabBytes));
  } else {
    Of(owner)->Drop(offset, kSlabBytes);
  }
  bases_[slab].store(common_.data(), std::memory_order_release);
  owners_[slab].store(0, std::memory_order_release);
}

const mem::LentMemory* OwnedPages::Of(std::uint32_t owner) {
  MutexLock lock(lent_mutex_);
  const auto found = lent_.find(owner);
  if (found != lent_.end()) return found->second.memory.get();
  if (lent_.size() >= options_.most_owners) return nullptr;
  SharedLimit::Taken place;
  if (options_.lent_memories) {
    place = options_.lent_memories->Hold(PartyOf(owner), 1);
    if (!place) return nullptr;
  }
  auto made = mem::LentMemory::Make(
      {.bytes = common_.size(), .numa_node = options_.numa_node, .lock = options_.lock});
  if (!made) return nullptr;
  Lent& lent = lent_[owner] = {std::move(*made), std::move(place)};
  return lent.memory.get();
}

void OwnedPages::Trim(std::uint32_t owner) {
  const mem::LentMemory* lent = Of(owner);
  if (lent == nullptr) return;
  std::uint64_t offset = lent->NextFilled(0);
  for (; offset < common_.size(); offset = lent->NextFilled(offset + kSlabBytes)) {
    const std::uint64_t slab = offset / kSlabBytes;
    MutexLock lock(MutexOf(slab));
    const bool own = bases_[slab].load(std::memory_order_relaxed) == lent->bytes().data();
    if (!own) lent->Drop(offset, kSlabBytes);
  }
}

void OwnedPages::Forget(std::uint32_t owner) {
  {
    MutexLock lock(lent_mutex_);
    if (!lent_.contains(owner)) return;
  }
  for (std::uint64_t slab = 0; slab < owners_.size(); ++slab) {
    if (owners_[slab].load(std::memory_order_acquire) != owner) continue;
    MutexLock lock(MutexOf(slab));
    if (owners_[slab].load(std::memory_order_relaxed) == owner) Empty(slab);
  }
  MutexLock lock(lent_mutex_);
  lent_.erase(owner);
}

}  // namespace kvpool::device
