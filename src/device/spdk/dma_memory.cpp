#include "device/spdk/dma_memory.h"

#include <spdk/env.h>

#include <algorithm>
#include <map>

#include "base/limits.h"
#include "device/spdk/environment.h"

namespace kvpool::device {
namespace {

constexpr std::size_t kMaxBuffers = 16;
constexpr std::uint64_t kPage = 2 * kMiB;  // what every release of SPDK registers

// The whole pages in `bytes`.
std::span<std::byte> Pages(std::span<std::byte> bytes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::uint64_t skipped = (kPage - begin % kPage) % kPage;
  if (bytes.size() < skipped + kPage) return {};
  return bytes.subspan(skipped, (bytes.size() - skipped) / kPage * kPage);
}

// SPDK reports success when its maps fail: it asks the drive's IOMMU, or for physical addresses,
// and logs what became of it.
bool IsMapped(std::span<std::byte> pages) {
  if (TakeDmaRefusal()) return false;
  for (std::uint64_t at = 0; at < pages.size(); at += kPage) {
    std::uint64_t length = kPage;
    if (spdk_vtophys(pages.data() + at, &length) == SPDK_VTOPHYS_ERROR || length != kPage) {
      return false;
    }
  }
  return true;
}

bool Has(const std::vector<mem::RegisteredMemory::Piece>& pieces, std::uint64_t serial) {
  return std::ranges::any_of(pieces, [&](const auto& piece) { return piece.serial == serial; });
}

// SPDK knows memory once for the whole process; queues share what they use. Threads: any.
class SharedMaps {
 public:
  using Owner = const mem::RegisteredMemory*;
  using Piece = mem::RegisteredMemory::Piece;

  // False: drives cannot be given `pages` of `piece`. `there`: all pieces that the owner has.
  bool Add(Owner owner, const Piece& piece, std::span<std::byte> pages,
           const std::vector<Piece>& there) {
    MutexLock lock(mutex_);
    if (const auto same = maps_.find({owner, piece.serial}); same != maps_.end()) {
      ++same->second.users;
      return true;
    }
    if (!Vacate(owner, pages, there)) return false;
    TakeDmaRefusal();
    if (spdk_mem_register(pages.data(), pages.size()) != 0) return false;
    if (!IsMapped(pages)) {
      spdk_mem_unregister(pages.data(), pages.size());
      return false;
    }
    maps_[{owner, piece.serial}] = {pages, 1};
    return true;
  }

  void Remove(Owner owner, const Piece& piece) {
    MutexLock lock(mutex_);
    const auto found = maps_.find({owner, piece.serial});
    if (found == maps_.end() || --found->second.users > 0) return;
    spdk_mem_unregister(found->second.pages.data(), found->second.pages.size());
    maps_.erase(found);
  }

 private:
  struct Map {
    std::span<std::byte> pages;
    int users = 0;
  };

  // What the owner has removed is used by no transfer, though a queue that sleeps still counts as a
  // user. False: another owner has memory there.
  bool Vacate(Owner owner, std::span<std::byte> pages, const std::vector<Piece>& there)
      KVPOOL_REQUIRES(mutex_) {
    for (auto at = maps_.begin(); at != maps_.end();) {
      const auto& [key, map] = *at;
      if (map.pages.data() + map.pages.size() <= pages.data() ||
          pages.data() + pages.size() <= map.pages.data()) {
        ++at;
        continue;
      }
      if (key.first != owner || Has(there, key.second)) return false;
      spdk_mem_unregister(map.pages.data(), map.pages.size());
      at = maps_.erase(at);
    }
    return true;
  }

  Mutex mutex_;
  std::map<std::pair<Owner, std::uint64_t>, Map> maps_ KVPOOL_GUARDED_BY(mutex_);
};

SharedMaps& Maps() {
  static SharedMaps maps;
  return maps;
}

}  // namespace

SpdkMemory::SpdkMemory(MemoryRule rule, const mem::RegisteredMemory* registered)
    : registered_(rule == MemoryRule::kRegistered ? registered : nullptr),
      needed_(rule == MemoryRule::kRegistered) {
  buffers_.reserve(kMaxBuffers);
  idle_.reserve(kMaxBuffers);
  // A piece is mapped for drives that others' transfers are under way on.
  if (registered_ != nullptr) registered_->FixPages();
}

SpdkMemory::~SpdkMemory() {
  for (const Piece& piece : used_) Maps().Remove(registered_, piece);
  for (std::byte* buffer : buffers_) spdk_free(buffer);
}

void SpdkMemory::Update() {
  version_ = registered_->version();
  const std::vector<Piece> now = registered_->pieces();
  std::erase_if(used_, [&](const Piece& piece) {
    if (Has(now, piece.serial)) return false;
    Maps().Remove(registered_, piece);
    return true;
  });
  for (const Piece& piece : now) {
    const std::span<std::byte> pages = Pages(piece.bytes);
    if (pages.empty() || Has(used_, piece.serial)) continue;
    if (Maps().Add(registered_, piece, pages, now)) used_.push_back(piece);
  }
  Arrange();
}

void SpdkMemory::Arrange() {
  spans_.clear();
  for (const Piece& piece : used_) spans_.push_back(Pages(piece.bytes));
  std::ranges::sort(spans_, {}, [](const auto& span) { return span.data(); });
  std::size_t last = 0;
  for (std::size_t i = 1; i < spans_.size(); ++i) {
    if (spans_[last].data() + spans_[last].size() == spans_[i].data()) {
      spans_[last] = {spans_[last].data(), spans_[last].size() + spans_[i].size()};
    } else {
      spans_[++last] = spans_[i];
    }
  }
  if (!spans_.empty()) spans_.resize(last + 1);
}

bool SpdkMemory::Reaches(std::span<const iovec> segments) const {
  if (!needed_) return true;
  return std::ranges::all_of(segments, [this](const iovec& segment) {
    const auto* begin = static_cast<const std::byte*>(segment.iov_base);
    const auto after =
        std::ranges::upper_bound(spans_, begin, {}, [](const auto& span) { return span.data(); });
    if (after == spans_.begin()) return false;
    const std::span<std::byte> span = *std::prev(after);
    return begin + segment.iov_len <= span.data() + span.size();
  });
}

std::byte* SpdkMemory::TakeBuffer() {
  if (idle_.empty() && buffers_.size() < kMaxBuffers) {
    void* made = spdk_malloc(kBounceBytes, kIoAlignment, nullptr, -1, SPDK_MALLOC_DMA);
    if (made == nullptr) return nullptr;
    buffers_.push_back(static_cast<std::byte*>(made));
    idle_.push_back(buffers_.back());
  }
  if (idle_.empty()) return nullptr;
  std::byte* buffer = idle_.back();
  idle_.pop_back();
  return buffer;
}

}  // namespace kvpool::device
