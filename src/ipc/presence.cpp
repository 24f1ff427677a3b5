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
constexpr std::uint64_t kMovedAtOnce = 16;
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

std::uint64_t BytesFor(std::uint64_t slots) { return sizeof(PresenceHeader) + slots * 8; }

std::uint64_t Mask(const SharedTable& table) { return table.slots().size() - 1; }

// A quarter full with these.
std::uint64_t SlotsFor(std::uint64_t keys) {
  std::uint64_t slots = kFirstSlots;
  while (slots < (keys + 1) * 4 && slots < kMaxSlots) slots *= 2;
  return slots;
}

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

void SharedTable::Populate() {
  constexpr int kPopulateWrite =
      23;  // MADV_POPULATE_WRITE, of Linux 5.14; without, they come later
  (void)::madvise(memory_.data(), memory_.size(), kPopulateWrite);
}

std::uint64_t SharedTable::DigestOf(Key key) const {
  return std::max<std::uint64_t>(Digest(key, header().seed), kWasUsed + 1);
}

Result<std::unique_ptr<PresenceWriter>> PresenceWriter::Make(std::uint64_t seed,
                                                             std::uint64_t keys) {
  auto table = SharedTable::Make(SlotsFor(keys), seed);
  if (!table) return tl::unexpected(table.error());
  if (keys != 0) (*table)->Populate();
  return std::unique_ptr<PresenceWriter>(new PresenceWriter(std::move(*table)));
}

bool PresenceWriter::Slots::Put(std::uint64_t digest) {
  std::atomic<std::uint64_t>* room = nullptr;
  for (std::uint64_t at = digest;; ++at) {
    auto& slot = table->slots()[at & Mask(*table)];
    const std::uint64_t old = slot.load(std::memory_order_relaxed);
    if (old == digest) return false;
    if (old <= kWasUsed && room == nullptr) room = &slot;
    if (old != kUnused) continue;
    if (room == &slot) ++used;
    room->store(digest, std::memory_order_release);
    return true;
  }
}

bool PresenceWriter::Slots::Take(std::uint64_t digest) {
  for (std::uint64_t at = digest;; ++at) {
    auto& slot = table->slots()[at & Mask(*table)];
    const std::uint64_t found = slot.load(std::memory_order_relaxed);
    if (found == kUnused) return false;
    if (found != digest) continue;
    slot.store(kWasUsed, std::memory_order_release);
    return true;
  }
}

void PresenceWriter::Add(Key key) {
  if (!now_.table) return;
  if (!next_.table && (now_.used + 1) * 2 > now_.table->slots().size()) BeginToGrow();
  if (!now_.table) return;
  const std::uint64_t digest = now_.table->DigestOf(key);
  if (now_.Put(digest)) ++present_;
  if (!next_.table) return;
  next_.Put(digest);
  MoveSome();
}

void PresenceWriter::Remove(Key key) {
  if (!now_.table) return;
  const std::uint64_t digest = now_.table->DigestOf(key);
  if (now_.Take(digest)) --present_;
  if (next_.table) next_.Take(digest);
}

// Also where most of the slots are of keys that have gone.
void PresenceWriter::BeginToGrow() {
  const std::uint64_t slots = now_.table->slots().size();
  // Before all have moved, as many may come as there are steps.
  auto larger =
      SharedTable::Make(SlotsFor(present_ + slots / kMovedAtOnce), now_.table->header().seed);
  if (larger) {
    next_ = {std::move(*larger), 0};
    moved_ = 0;
    return;
  }
  Supersede({});
}

void PresenceWriter::Supersede(Slots by) {
  former_ = std::exchange(now_, std::move(by)).table;
  former_->header().superseded.store(1, std::memory_order_release);
}

void PresenceWriter::MoveSome() {
  const auto slots = now_.table->slots();
  for (const auto& slot : slots.subspan(moved_, kMovedAtOnce)) {
    const std::uint64_t digest = slot.load(std::memory_order_relaxed);
    if (digest > kWasUsed) next_.Put(digest);
  }
  moved_ += kMovedAtOnce;
  if (moved_ < slots.size()) return;
  Supersede(std::exchange(next_, {}));
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
