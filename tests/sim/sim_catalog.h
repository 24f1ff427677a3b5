// SimCatalog: a catalog that a crash may come before or after, and that fails now and then.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "catalog/catalog.h"
#include "tests/sim/world.h"

namespace kvpool::sim {

// What a catalog in memory holds; outlives the pools that open it.
struct CatalogState {
  std::map<std::uint64_t, catalog::BlockRow> rows;  // by generation
  std::vector<std::pair<std::uint32_t, SpaceSpec>> spaces;
  std::uint64_t highest_generation = 0;
};

// The contract of catalog::Catalog over `state`, without a file.
std::unique_ptr<catalog::Catalog> MakeMemoryCatalog(CatalogState& state);

// Any catalog, with crashes and, by `error` a transaction, failures.
std::unique_ptr<catalog::Catalog> MakeSimCatalog(World& world,
                                                 std::unique_ptr<catalog::Catalog> inner,
                                                 double error);

}  // namespace kvpool::sim
