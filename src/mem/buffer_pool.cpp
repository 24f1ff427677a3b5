#include "mem/buffer_pool.h"

#include "base/check.h"

namespace kvpool::mem {

BufferPool::BufferPool(std::span<std::byte> memory, std::size_t buffer_bytes)
    : buffer_bytes_(buffer_bytes) {
  KVPOOL_CHECK(buffer_bytes > 0);
  Add(memory);
}

void BufferPool::Add(std::span<std::byte> memory) {
  const std::size_t count = memory.size() / buffer_bytes_;
  parts_.push_back({memory.data(), out_.size(), count});
  out_.resize(out_.size() + count, false);
  free_.reserve(out_.size());
  for (std::size_t i = count; i > 0; --i) free_.push_back(memory.data() + (i - 1) * buffer_bytes_);
}

std::size_t BufferPool::PositionOf(const std::byte* buffer) const {
  for (const Part& part : parts_) {
    const std::size_t distance = static_cast<std::size_t>(buffer - part.memory);
    if (buffer < part.memory || distance >= part.count * buffer_bytes_) continue;
    KVPOOL_CHECK(distance % buffer_bytes_ == 0);
    return part.first + distance / buffer_bytes_;
  }
  KVPOOL_CHECK(false);
}

std::byte* BufferPool::Get() {
  if (free_.empty()) return nullptr;
  std::byte* buffer = free_.back();
  free_.pop_back();
  out_[PositionOf(buffer)] = true;
  return buffer;
}

void BufferPool::Put(std::byte* buffer) {
  const std::size_t position = PositionOf(buffer);
  KVPOOL_CHECK(out_[position]);
  out_[position] = false;
  free_.push_back(buffer);
}

}  // namespace kvpool::mem
