#include "llama/staging.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

namespace kvpool::llama {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kFirstSlot = 1 << 20;
constexpr std::uint64_t kLargestSlot = std::uint64_t{4} << 30;  // no block of a pool is larger
constexpr std::uint64_t kMostSlots = 32;

}  // namespace

Result<std::unique_ptr<Staging>> Staging::Open(Pool& pool, Space space, std::uint64_t bytes) {
  std::unique_ptr<Staging> staging(new Staging(pool, space, bytes));
  auto channel = pool.OpenChannel();
  if (!channel) return tl::unexpected(channel.error());
  staging->channel_ = std::move(*channel);
  if (auto made = staging->Make(kFirstSlot); !made) return tl::unexpected(made.error());
  return staging;
}

Staging::~Staging() { channel_.reset(); }

Result<void> Staging::Make(std::uint64_t slot_bytes) {
  slot_bytes = (slot_bytes + kPage - 1) / kPage * kPage;
  const std::uint64_t count = std::clamp<std::uint64_t>(bytes_ / slot_bytes, 2, kMostSlots);
  auto memory = pool_.Allocate(count * slot_bytes);
  if (!memory) return tl::unexpected(memory.error());
  memory_ = std::move(*memory);
  slot_bytes_ = slot_bytes;
  slots_ = std::vector<Slot>(count);
  for (std::size_t i = 0; i < count; ++i) {
    slots_[i].segment = {memory_->bytes().data() + i * slot_bytes, slot_bytes};
  }
  next_ = 0;
  return {};
}

bool Staging::Grow(std::uint64_t slot_bytes) {
  if (slot_bytes > kLargestSlot) return false;
  AwaitAll();
  return Make(std::max(slot_bytes, 2 * slot_bytes_)).has_value();
}

std::span<std::byte> Staging::Next(std::uint64_t bytes) {
  if (bytes > slot_bytes_ && !Grow(bytes)) return {};
  Slot& slot = slots_[next_];
  Await(slot);
  return {slot.segment.data, bytes};
}

bool Staging::Put(const Key& key, std::uint64_t ordinal, const Key& parent, std::uint64_t bytes) {
  Slot& slot = slots_[next_];
  slot.segment.bytes = bytes;
  slot.key = key;
  slot.put.space = space_;
  slot.put.keys = {&slot.key, 1};
  slot.put.from = {&slot.segment, 1};
  slot.put.ordinal = ordinal;
  slot.put.parent = parent;
  slot.put.user = &slot;
  if (channel_->Submit(slot.put) != Status::kOk) return false;
  slot.is_in_flight = slot.is_put = true;
  next_ = (next_ + 1) % slots_.size();
  return true;
}

Staging::Stored Staging::Finish() {
  AwaitAll();
  return std::exchange(stored_, {});
}

bool Staging::SubmitGet(std::size_t number, const Key& key) {
  Slot& slot = slots_[number % slots_.size()];
  slot.segment.bytes = slot_bytes_;
  slot.key = key;
  slot.get.space = space_;
  slot.get.keys = {&slot.key, 1};
  slot.get.into = {&slot.segment, 1};
  slot.get.user = &slot;
  if (channel_->Submit(slot.get) != Status::kOk) return false;
  slot.is_in_flight = true;
  slot.is_put = false;
  return true;
}

void Staging::Await(Slot& slot) {
  while (slot.is_in_flight) {
    channel_->Wait(std::chrono::seconds(1));
    std::array<Request*, kMostSlots> done;
    const std::size_t count = channel_->Poll(done);
    for (Request* request : std::span(done).first(count)) {
      Slot& ended = *static_cast<Slot*>(request->user);
      ended.is_in_flight = false;
      if (!ended.is_put) continue;
      stored_.blocks += ended.put.result(0) == Status::kOk ? 1 : 0;
      stored_.has_too_large |= ended.put.result(0) == Status::kInvalid;
    }
  }
}

void Staging::AwaitAll() {
  for (Slot& slot : slots_) Await(slot);
}

}  // namespace kvpool::llama
