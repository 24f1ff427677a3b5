#include "ipc/presence.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/checksum.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace kvpool::ipc {
namespace {

constexpr std::uint64_t kUnused = 0;
constexpr std::uint64_t kWasUsed = 1;
constexpr std::uint64_t kFirstSlots = 4096;
constexpr std::uint64_t kMaxSlots = std::uint64_t{1} << 32;
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

std::uint64_t BytesFor(std::uint64_t slots) { return sizeof(PresenceHeader) + slots * 8; }

std::uint64_t Mask(const SharedTable& table) { return table.slots().size() - 1; }

}  // namespace

Result<std::shared_ptr<SharedTable>> SharedTable::Make(std::uint64_t slots, std::uint64_t seed) {
  std::shared_ptr<SharedTable> table(new SharedTable);
  table->fd_ = Descriptor(::memfd_create("kvpool-presence", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const int fd = table->fd_.get();
  const auto bytes = BytesFor(slots);
  void* memory = MAP_FAILED;
  if (fd >= 0 && ::ftruncate(fd, static_cast<off_t>(bytes)) == 0) {
    memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
  if (memory != MAP_FAILED) table->memory_ = {static_cast<std::byte*>(memory), bytes};
  if (memory == MAP_FAILED || ::fcntl(fd, F_ADD_SEALS, seals) != 0) {
    return Fail(Status::kNoSpace,
                "no shared memory could be had for a space's keys: free some, or raise the limit "
                "on open files (ulimit -n)",
                errno);
  }
  auto* header = new (memory) PresenceHeader;
  header->seed = seed;
  header->slots = slots;
  table->slots_ = {reinterpret_cast<std::atomic<std::uint64_t>*>(header + 1), slots};
  return table;
}

Result<std::shared_ptr<SharedTable>> SharedTable::Adopt(Descriptor fd) {
  std::shared_ptr<SharedTable> table(new SharedTable);
  table->fd_ = std::move(fd);
  struct stat status{};
  const bool sized = ::fstat(table->fd_.get(), &status) == 0 &&
                     static_cast<std::uint64_t>(status.st_size) > sizeof(PresenceHeader);
  const auto bytes = static_cast<std::uint64_t>(status.st_size);
  void* memory =
      sized ? ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, table->fd_.get(), 0) : MAP_FAILED;
  if (memory != MAP_FAILED) table->memory_ = {static_cast<std::byte*>(memory), bytes};
  if (memory == MAP_FAILED || BytesFor(table->header().slots) != bytes) {
    return Fail(Status::kInvalid,
                "the daemon's table of keys is none: use the same kvpool for both");
  }
  table->slots_ = {
      reinterpret_cast<std::atomic<std::uint64_t>*>(table->memory_.data() + sizeof(PresenceHeader)),
      table->header().slots};
  return table;
}

SharedTable::~SharedTable() {
  if (!memory_.empty()) ::munmap(memory_.data(), memory_.size());
}

std::uint64_t SharedTable::DigestOf(Key key) const {
  return std::max<std::uint64_t>(Digest(key, header().seed), kWasUsed + 1);
}

Result<std::unique_ptr<PresenceWriter>> PresenceWriter::Make(std::uint64_t seed) {
  auto table = SharedTable::Make(kFirstSlots, seed);
  if (!table) return tl::unexpected(table.error());
  return std::unique_ptr<PresenceWriter>(new PresenceWriter(std::move(*table)));
}

bool PresenceWriter::Put(std::uint64_t digest) {
  std::atomic<std::uint64_t>* room = nullptr;
  for (std::uint64_t at = digest;; ++at) {
    auto& slot = table_->slots()[at & Mask(*table_)];
    const std::uint64_t old = slot.load(std::memory_order_relaxed);
    if (old == digest) return false;
    if (old <= kWasUsed && room == nullptr) room = &slot;
    if (old != kUnused) continue;
    if (room == &slot) ++used_;
    room->store(digest, std::memory_order_release);
    return true;
  }
}

void PresenceWriter::Add(Key key) {
  if (!table_) return;
  if ((used_ + 1) * 2 > table_->slots().size()) Grow();
  if (table_ && Put(table_->DigestOf(key))) ++present_;
}

void PresenceWriter::Remove(Key key) {
  if (!table_) return;
  const std::uint64_t digest = table_->DigestOf(key);
  for (std::uint64_t at = digest;; ++at) {
    auto& slot = table_->slots()[at & Mask(*table_)];
    const std::uint64_t found = slot.load(std::memory_order_relaxed);
    if (found == kUnused) return;
    if (found != digest) continue;
    slot.store(kWasUsed, std::memory_order_release);
    --present_;
    return;
  }
}

// As large as needed for four times the keys that are there, so also to get rid of used slots.
void PresenceWriter::Grow() {
  std::uint64_t slots = kFirstSlots;
  while (slots < (present_ + 1) * 4 && slots < kMaxSlots) slots *= 2;
  auto larger = SharedTable::Make(slots, table_->header().seed);
  const std::shared_ptr<SharedTable> former = std::exchange(table_, larger ? *larger : nullptr);
  used_ = 0;
  for (const auto& slot : former->slots()) {
    const std::uint64_t digest = slot.load(std::memory_order_relaxed);
    if (table_ && digest > kWasUsed) Put(digest);
  }
  former->header().superseded.store(1, std::memory_order_release);
}

bool IsIn(const SharedTable& table, Key key) {
  const std::uint64_t digest = table.DigestOf(key);
  const auto slots = table.slots();
  for (std::uint64_t i = 0; i < slots.size(); ++i) {
    const std::uint64_t found =
        slots[(digest + i) & (slots.size() - 1)].load(std::memory_order_acquire);
    if (found == digest) return true;
    if (found == kUnused) return false;
  }
  return false;
}

std::size_t MatchIn(const SharedTable& table, std::span<const Key> keys) {
  const auto absent =
      std::find_if_not(keys.begin(), keys.end(), [&](Key key) { return IsIn(table, key); });
  return static_cast<std::size_t>(absent - keys.begin());
}

}  // namespace kvpool::ipc
