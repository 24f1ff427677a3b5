// Content: the bytes that every method stores and must give back, made from a seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace kvpool::bench {

// Incompressible, and different for every (seed, block). bytes.size(): a multiple of 8.
void FillBlock(std::uint64_t seed, std::uint64_t block, std::span<std::byte> bytes);

// Overwrites the start of every 4 KiB, so that what an earlier retrieval left does not count.
void Poison(std::span<std::byte> bytes);

// The context in the destination buffer and the digest each block must have there.
// Threads: one.
class Content {
 public:
  // `buffer` is blocks * block_bytes; not owned.
  Content(std::uint64_t seed, std::span<std::byte> buffer, std::uint64_t block_bytes);

  std::span<std::byte> buffer() const { return buffer_; }
  std::uint64_t blocks() const { return buffer_.size() / block_bytes_; }
  std::uint64_t block_bytes() const { return block_bytes_; }
  std::span<std::byte> Block(std::uint64_t block) const {
    return buffer_.subspan(block * block_bytes_, block_bytes_);
  }

  // Makes all blocks anew in the buffer.
  void Fill();
  // The first of the leading `blocks` that differs from what Fill made.
  std::optional<std::uint64_t> FirstWrongBlock(std::uint64_t blocks) const;

 private:
  std::uint64_t seed_;
  std::span<std::byte> buffer_;
  std::uint64_t block_bytes_;
  std::vector<std::uint64_t> digests_;  // empty until the first Fill
};

}  // namespace kvpool::bench
