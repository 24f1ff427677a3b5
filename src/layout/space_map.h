// SpaceMap: the free space of one device. Slabs of 2 MiB, each cut into equal slots of one space.
#pragma once

#include <cstdint>
#include <vector>

#include "base/limits.h"

namespace kvpool::layout {

// Threads: one.
class SpaceMap {
 public:
  // Hands out [first_byte, capacity_bytes); both multiples of 2 MiB.
  SpaceMap(std::uint64_t first_byte, std::uint64_t capacity_bytes);

  // Appends `count` byte offsets, ascending within a run, neighbours adjacent where space allows.
  // All or nothing: false when fewer are free. slot_bytes: kMinSlotBytes..kSlabBytes, a multiple
  // of 4 KiB.
  bool Allocate(std::uint32_t space, std::uint32_t slot_bytes, std::uint64_t count,
                std::vector<std::uint64_t>& offsets);

  // `offset` is an allocated slot's.
  void Free(std::uint64_t offset);

  // Marks one slot as taken, when a catalog is read back. False when it is taken already, out of
  // bounds, or its slab holds slots of another size or space.
  bool Reserve(std::uint32_t space, std::uint32_t slot_bytes, std::uint64_t offset);

  // How many slots Allocate could give now. O(1).
  std::uint64_t FreeSlots(std::uint32_t space, std::uint32_t slot_bytes) const;

  std::uint64_t used_bytes() const { return used_bytes_; }  // whole slots
  std::uint64_t capacity_bytes() const;

 private:
  std::uint64_t used_bytes_ = 0;
};

}  // namespace kvpool::layout
