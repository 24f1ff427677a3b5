// What can be done about a catalog that a pool cannot open.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "catalog/catalog.h"

namespace kvpool::catalog {

struct Finding {
  bool good = false;        // opens, and can be read to its end
  bool repairable = false;  // damaged, of another version or not there: not good, and nobody else's
  std::string sentence;     // what is wrong
};

// Reads all of it, as a pool that opens it would. Changes nothing but what opening does. Not
// repairable is what another pool or program owns, has open, or keeps this user from.
Finding Examine(const std::filesystem::path& path, std::uint64_t pool_id);

struct Salvaged {
  std::vector<std::pair<std::uint32_t, SpaceSpec>> spaces;
  std::vector<BlockRow> rows;            // newest first, all of spaces
  std::uint64_t highest_generation = 0;  // that is known of
};

// What is still readable: rows from both ends up to the damage. Of another version: nothing.
Salvaged Salvage(const std::filesystem::path& path);

// Renames the catalog and its log, so that nothing is lost for good; returns the new name.
// kNotFound: there is no file.
Result<std::filesystem::path> PutAside(const std::filesystem::path& path);

// A new catalog of these rows, whose next generations lie above all that the old one can have
// given out: its clock's seconds count as well, so a clock that jumps back by years would matter
// only where nothing was salvaged. Fails as Catalog::Create does.
Result<void> Rebuild(const std::filesystem::path& path, std::uint64_t pool_id,
                     const Salvaged& salvaged);

}  // namespace kvpool::catalog
