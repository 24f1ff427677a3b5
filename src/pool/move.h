// Move: units on their way from one place to another, while their blocks stay readable.
#pragma once

#include <cstdint>
#include <vector>

#include "pool/operation.h"

namespace kvpool::pool {

struct MovedUnit {
  index::EntryId entry = index::kNoEntry;
  std::uint32_t owner = 0;  // of its bytes, to a device
  std::uint32_t unit = 0;
  std::uint32_t bytes = 0;
  std::uint64_t seed = 0;  // of the checksum
  layout::UnitRecord from;
  layout::UnitRecord to;
  Status status = Status::kOk;  // out: of reading it and writing it again
};

// A batch of units. Planned and finished by the store, carried by a Mover.
struct Move {
  std::vector<MovedUnit> units;
  std::vector<index::EntryId> entries;  // of the units, each pinned once
  std::int64_t oldest_ns = 0;           // since when the first of them waits
  bool evacuates = false;               // off a device that leaves; else a drive gets a copy

  bool empty() const { return units.empty(); }
  void Clear() {
    units.clear();
    entries.clear();
    evacuates = false;
  }
};

}  // namespace kvpool::pool
