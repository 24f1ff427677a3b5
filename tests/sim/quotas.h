// Quotas: whether tenants stay within theirs, at every moment.
#pragma once

#include <cstdint>
#include <vector>

#include "pool/pool_impl.h"
#include "tests/sim/world.h"

namespace kvpool::sim {

// Threads: one.
class Quotas {
 public:
  // Of a pool that was just opened. Who is above a quota by then, which was lowered, may only come
  // down.
  void Begin(const pool::PoolImpl& pool);
  void Look(const pool::PoolImpl& pool, World& world);

 private:
  std::vector<std::uint64_t> most_bytes_;
};

}  // namespace kvpool::sim
