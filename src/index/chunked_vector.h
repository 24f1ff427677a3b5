// ChunkedVector: a dense array by EntryId that grows without moving what it holds, so that no
// insertion ever pays for copying millions of entries.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace kvpool::index {

// Threads: as std::vector. References stay valid for the vector's life.
template <class T>
class ChunkedVector {
 public:
  static constexpr std::size_t kChunk = 1024;

  T& operator[](std::size_t i) { return chunks_[i / kChunk][i % kChunk]; }
  const T& operator[](std::size_t i) const { return chunks_[i / kChunk][i % kChunk]; }

  // Makes [0, size) valid; what is new is value-initialised.
  void Cover(std::size_t size) {
    while (chunks_.size() * kChunk < size) chunks_.push_back(std::make_unique<T[]>(kChunk));
  }

  const T* Address(std::size_t i) const { return &chunks_[i / kChunk][i % kChunk]; }

 private:
  std::vector<std::unique_ptr<T[]>> chunks_;
};

}  // namespace kvpool::index
