#include "mem/buffer_pool.h"

#include "base/check.h"

namespace kvpool::mem {

BufferPool::BufferPool(std::span<std::byte> memory, std::size_t buffer_bytes)
    : memory_(memory.data()), buffer_bytes_(buffer_bytes) {
  KVPOOL_CHECK(buffer_bytes > 0);
  const std::size_t count = memory.size() / buffer_bytes;
  out_.resize(count, false);
  free_.reserve(count);
  for (std::size_t i = count; i > 0; --i) free_.push_back(memory_ + (i - 1) * buffer_bytes);
}

std::byte* BufferPool::Get() {
  if (free_.empty()) return nullptr;
  std::byte* buffer = free_.back();
  free_.pop_back();
  out_[static_cast<std::size_t>(buffer - memory_) / buffer_bytes_] = true;
  return buffer;
}

void BufferPool::Put(std::byte* buffer) {
  const auto distance = static_cast<std::size_t>(buffer - memory_);
  const std::size_t index = distance / buffer_bytes_;
  KVPOOL_CHECK(distance % buffer_bytes_ == 0 && index < out_.size() && out_[index]);
  out_[index] = false;
  free_.push_back(buffer);
}

}  // namespace kvpool::mem
