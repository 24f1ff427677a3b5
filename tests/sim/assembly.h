// Assembly: puts a pool together of what outlives it: drives, a catalog, staging.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "catalog/catalog.h"
#include "pool/pool_impl.h"
#include "tests/sim/detacher.h"
#include "tests/sim/dormant.h"
#include "tests/sim/rack.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_catalog.h"
#include "tests/sim/world.h"

namespace kvpool::sim {

// One pool at a time is open. Threads: one.
class Assembly {
 public:
  Assembly(World& world, const Scenario& scenario, Rack& rack, Dormant& dormant);
  ~Assembly();

  // Another pool of the same drives and catalog. `make_drive`: what a replacement comes to.
  std::unique_ptr<pool::PoolImpl> Open(pool::MakeDrive make_drive);
  // Of a catalog in memory; empty for any other.
  const CatalogState& catalog() const { return catalog_state_; }

 private:
  void AddDrives(pool::PoolParts& parts) const;
  void LowerQuotas(Config& config) const;
  std::unique_ptr<catalog::Catalog> OpenCatalog();
  void LookAtRows(catalog::Catalog& catalog);
  std::span<std::byte> GiveStaging();

  World& world_;
  const Scenario& scenario_;
  Rack& rack_;
  Dormant& dormant_;
  SimDetacher detacher_;
  CatalogState catalog_state_;
  std::filesystem::path folder_;  // of the real catalog
  std::size_t staging_given_ = 0;
};

}  // namespace kvpool::sim
