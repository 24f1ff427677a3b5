// Dormant: durable blocks that lie on drives which are away. They are warm again when those are
// back, unless somebody has taken their place.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "catalog/catalog.h"
#include "tests/sim/oracle.h"
#include "tests/sim/rack.h"

namespace kvpool::sim {

// Threads: one.
class Dormant {
 public:
  Dormant(Oracle& oracle, const Rack& rack) : oracle_(oracle), rack_(rack) {}

  // Before a pool opens, with the rows that it will find, newest first, and the ids that the
  // catalog has for the oracle's spaces. Of what has to be there, what lies on drives that are away
  // falls asleep; of what sleeps, what lies as it did wakes up.
  void Look(std::span<const catalog::BlockRow> rows, std::span<const std::uint32_t> space_ids);
  // Somebody has asked for it to be dropped.
  void Forget(std::uint32_t key);

 private:
  struct Sleeper {
    std::uint32_t key;
    std::uint32_t version;
    std::vector<layout::UnitRecord> units;
    std::uint64_t digest;  // of the slabs that it lies on
  };
  std::uint64_t DigestOf(std::span<const layout::UnitRecord> units) const;
  bool IsAway(std::span<const layout::UnitRecord> units) const;

  Oracle& oracle_;
  const Rack& rack_;
  std::vector<Sleeper> sleepers_;
};

}  // namespace kvpool::sim
