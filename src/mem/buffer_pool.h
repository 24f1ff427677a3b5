// BufferPool: buffers of one size, cut from memory that someone else keeps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kvpool::mem {

// O(1), allocates nothing after it is made. Get hands out the buffer put back last: its bytes are
// the ones most likely still in the processor's cache.
// Threads: one.
class BufferPool {
 public:
  // As many whole buffers as `memory` holds. The memory outlives the pool.
  BufferPool(std::span<std::byte> memory, std::size_t buffer_bytes);

  // The buffers of more memory, beside those that are there.
  void Add(std::span<std::byte> memory);

  std::byte* Get();  // nullptr when all are out
  void Put(std::byte* buffer);

  std::size_t buffer_bytes() const { return buffer_bytes_; }
  std::size_t size() const { return out_.size(); }
  std::size_t available() const { return free_.size(); }

 private:
  struct Part {
    std::byte* memory;
    std::size_t first;  // position of its first buffer in out_
    std::size_t count;
  };
  // The position of a buffer that Get gave.
  std::size_t PositionOf(const std::byte* buffer) const;

  std::size_t buffer_bytes_;
  std::vector<Part> parts_;
  std::vector<std::byte*> free_;
  std::vector<bool> out_;  // by buffer: catches a buffer put back twice
};

}  // namespace kvpool::mem
