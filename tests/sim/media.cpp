#include "tests/sim/media.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace kvpool::sim {
namespace {

constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint64_t kMostBytes = 16 << 20;

// Zeroed memory that goes round from one simulation to the next: mapping it anew would cost more
// than all the rest.
std::vector<std::byte*>& Spare() {
  static std::vector<std::byte*> spare;
  return spare;
}

std::byte* Take() {
  if (Spare().empty()) {
    auto* bytes = static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kMostBytes));
    std::memset(bytes, 0, kMostBytes);
    return bytes;
  }
  std::byte* bytes = Spare().back();
  Spare().pop_back();
  return bytes;
}

}  // namespace

Media::Media(std::uint64_t capacity_bytes, bool cached)
    : capacity_bytes_(capacity_bytes),
      cached_(cached),
      bytes_(Take()),
      touched_(capacity_bytes / kPageBytes) {
  if (capacity_bytes > kMostBytes) std::abort();
}

Media::~Media() {
  for (std::uint64_t page = 0; page < touched_.size(); ++page) {
    if (touched_[page]) std::memset(bytes_ + page * kPageBytes, 0, kPageBytes);
  }
  Spare().push_back(bytes_);
}

void Media::Keep(std::uint64_t page, Random& random) {
  touched_[page] = true;
  if (!cached_) return;
  auto& befores = unflushed_[page];
  // One in between may be what survives, but not every one needs to be kept for that.
  const bool needed = befores.empty() || befores.back().epoch != epoch_;
  if (!needed && !random.Chance(0.3)) return;
  auto copy = std::make_unique_for_overwrite<std::byte[]>(kPageBytes);
  std::memcpy(copy.get(), bytes_ + page * kPageBytes, kPageBytes);
  befores.push_back({epoch_, std::move(copy)});
}

void Media::Write(std::uint64_t offset, std::span<const std::byte> bytes, Random& random) {
  if (bytes.empty()) return;
  const std::uint64_t last = (offset + bytes.size() - 1) / kPageBytes;
  for (std::uint64_t page = offset / kPageBytes; page <= last; ++page) Keep(page, random);
  std::memcpy(bytes_ + offset, bytes.data(), bytes.size());
}

void Media::EndFlush(std::uint64_t epoch) {
  for (auto entry = unflushed_.begin(); entry != unflushed_.end();) {
    std::erase_if(entry->second, [&](const Before& before) { return before.epoch <= epoch; });
    entry = entry->second.empty() ? unflushed_.erase(entry) : std::next(entry);
  }
}

void Media::PowerCut(Random& random) {
  for (auto& [page, befores] : unflushed_) {
    std::byte* now = bytes_ + page * kPageBytes;
    const std::uint64_t choice = random.Below(befores.size() + 2);
    if (choice == befores.size()) continue;  // it made it
    if (choice < befores.size()) {
      std::memcpy(now, befores[choice].bytes.get(), kPageBytes);
      continue;
    }
    const std::uint64_t torn = random.Between(1, kPageBytes / kSectorBytes - 1) * kSectorBytes;
    std::memcpy(now + torn, befores[0].bytes.get() + torn, kPageBytes - torn);
  }
  unflushed_.clear();
}

void Media::Spoil(Random& random) {
  for (std::uint64_t page = 0; page < touched_.size(); ++page) {
    if (touched_[page]) {
      std::memset(bytes_ + page * kPageBytes, static_cast<int>(random.Below(256)), kPageBytes);
    }
  }
  unflushed_.clear();
}

}  // namespace kvpool::sim
