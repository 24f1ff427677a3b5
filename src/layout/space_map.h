// SpaceMap: the free space of one device. Slabs of 2 MiB, each cut into equal slots of one space.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/limits.h"
#include "layout/bit_tree.h"

namespace kvpool::layout {

// A slab belongs to one class, a (space, slot size), from its first slot taken to its last one
// freed. Slots never cross a slab's border; where the slot size divides 2 MiB, neighbouring slabs
// make one run. 20 bytes of memory a slab.
// Threads: one.
class SpaceMap {
 public:
  // Hands out [first_byte, capacity_bytes); both multiples of 2 MiB.
  SpaceMap(std::uint64_t first_byte, std::uint64_t capacity_bytes);

  // Appends `count` byte offsets, ascending within a run, neighbours adjacent where space allows.
  // All or nothing: false when fewer are free. slot_bytes: kMinSlotBytes..kSlabBytes, a multiple
  // of 4 KiB. Continues behind the class's last allocation, so a context that arrives in pieces
  // lies in one piece; looks at no slab that it does not take.
  bool Allocate(std::uint32_t space, std::uint32_t slot_bytes, std::uint64_t count,
                std::vector<std::uint64_t>& offsets);

  // `offset` is an allocated slot's.
  void Free(std::uint64_t offset);

  // Marks one slot as taken, when a catalog is read back. False when it is taken already, out of
  // bounds, or its slab holds slots of another size or space.
  bool Reserve(std::uint32_t space, std::uint32_t slot_bytes, std::uint64_t offset);

  // The size of an allocated slot.
  std::uint32_t SlotBytesAt(std::uint64_t offset) const;

  // How many slots Allocate could give now. O(1).
  std::uint64_t FreeSlots(std::uint32_t space, std::uint32_t slot_bytes) const;

  // Classes, each with a slab at least, whatever came before.
  std::size_t classes() const { return class_of_.size(); }
  std::uint64_t used_bytes() const { return used_bytes_; }                     // whole slots
  std::uint64_t capacity_bytes() const { return slabs_.size() * kSlabBytes; }  // of the range

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;
  static constexpr std::uint32_t kMaxSlots = kSlabBytes / kMinSlotBytes;
  static_assert(kMaxSlots == 64, "a slab's slots are the bits of one word");

  struct Slab {
    std::uint64_t free = 0;       // bit i: slot i is free; meaningful while `owner` is set
    std::uint32_t owner = kNone;  // position in classes_
    std::uint32_t previous = kNone;
    std::uint32_t next = kNone;  // in the owner's list of slabs with as many free slots
  };
  struct Class {
    Class() { heads.fill(kNone); }
    std::uint64_t key = 0;    // in class_of_
    std::uint32_t slabs = 0;  // of its own
    std::uint32_t slot_bytes = 0;
    std::uint32_t slots = 0;                         // a slab
    std::uint64_t free_slots = 0;                    // in its own slabs
    std::uint32_t last = kNone;                      // slab of the last allocation
    std::uint64_t filled = 0;                        // bit f - 1: heads[f] is a list
    std::array<std::uint32_t, kMaxSlots + 1> heads;  // by free slots of the slab
  };

  std::uint32_t ClassOf(std::uint32_t space, std::uint32_t slot_bytes);
  void TakeWholeSlabs(std::uint32_t owner, std::uint64_t& count,
                      std::vector<std::uint64_t>& offsets);
  void TakePartSlabs(std::uint32_t owner, std::uint64_t& count,
                     std::vector<std::uint64_t>& offsets);
  void TakeFrom(std::uint32_t slab, std::uint64_t& count, std::vector<std::uint64_t>& offsets);
  std::uint32_t NextFreeSlab(const Class& owner) const;
  void Claim(std::uint32_t slab, std::uint32_t owner);
  void SetFree(std::uint32_t slab, std::uint64_t free);
  void Link(std::uint32_t slab, std::uint32_t bucket);
  void Unlink(std::uint32_t slab, std::uint32_t bucket);

  std::uint64_t first_byte_;
  std::uint64_t used_bytes_ = 0;
  std::uint64_t free_slabs_ = 0;
  std::vector<Slab> slabs_;
  BitTree free_slab_bits_;
  std::vector<Class> classes_;
  std::vector<std::uint32_t> resting_classes_;                 // that have no slab any more
  std::unordered_map<std::uint64_t, std::uint32_t> class_of_;  // space and slot size
};

}  // namespace kvpool::layout
