// KeptRows: recorded blocks that cannot be served, because a drive that they lie on is not there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "catalog/catalog.h"
#include "kvpool/key.h"

namespace kvpool::pool {

// They stay in the catalog, and are warm again when the drive is back; but not beside a block that
// has been put under the same key meanwhile, nor after somebody has dropped them. 40 bytes a row.
// Threads: the store's lock.
class KeptRows {
 public:
  void Keep(const catalog::BlockRow& row);
  bool empty() const { return rows_.empty(); }
  bool Has(std::uint32_t space, Key key) const;

  // Take rows out, and append their generations: what is to be removed from the catalog.
  void TakeKey(std::uint32_t space, Key key, std::vector<std::uint64_t>& generations);
  void TakeDevice(std::size_t device, std::vector<std::uint64_t>& generations);

 private:
  struct Row {
    std::uint64_t generation;
    std::uint64_t devices;  // bit i: a unit lies on device i
  };
  // By digest: two keys with one digest cost a block, and no wrong byte.
  std::unordered_multimap<std::uint64_t, Row> rows_;
};

}  // namespace kvpool::pool
