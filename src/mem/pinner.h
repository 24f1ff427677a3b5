// Pinner: keeps memory where a device that moves bytes by itself, such as a GPU, finds it.
#pragma once

#include <cstddef>
#include <span>

namespace kvpool::mem {

// Threads: any.
class Pinner {
 public:
  virtual ~Pinner() = default;

  // False: the memory stays as it is, and transfers work without, slower. Memory that somebody else
  // has pinned for the same device counts as pinned, and stays theirs.
  virtual bool Pin(std::span<std::byte> bytes) = 0;
  // Exactly what Pin took, when no transfer uses it any more and before the memory goes away.
  virtual void Unpin(std::span<std::byte> bytes) = 0;
};

}  // namespace kvpool::mem
