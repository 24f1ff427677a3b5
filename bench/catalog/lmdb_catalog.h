// LMDB in the catalog's place, to be measured beside it. Not a catalog that a pool could use:
// spaces are made up and nothing is checked.
#pragma once

#include <filesystem>
#include <memory>

#include "catalog/catalog.h"

namespace kvpool::bench {

// Makes the file where it is missing. Rows by generation, durable when Apply returns (LMDB's own
// default). `map_bytes`: as large as it may become.
Result<std::unique_ptr<catalog::Catalog>> OpenLmdb(const std::filesystem::path& path,
                                                   std::uint64_t map_bytes);

}  // namespace kvpool::bench
