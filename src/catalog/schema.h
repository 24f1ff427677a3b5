// The catalog's tables: their statements, and rows as values. Format: docs/formats/catalog.md.
#pragma once

#include <cstdint>
#include <string>

#include "catalog/catalog.h"
#include "catalog/sqlite.h"

namespace kvpool::catalog {

inline constexpr std::uint64_t kApplicationId = 0x6b76706c;  // "kvpl"
inline constexpr std::uint64_t kVersion = 2;
inline constexpr std::uint64_t kFormerVersion = 1;  // its spaces have no owner

// Far more than one opening of a pool can use up, so that the next one cannot wrap around.
inline constexpr std::uint64_t kGenerationsLeft = std::uint64_t{1} << 48;
inline constexpr std::uint64_t kMaxGeneration = ~std::uint64_t{0} - kGenerationsLeft;

std::string Schema();  // begins a transaction and leaves it open

// From version 1 to 2, within a transaction.
std::string Upgrade();

inline constexpr const char* kSelectSpaces =
    "SELECT id, model, dtype, layout, layer_group, rank, engine, tenant_salt, owner, layers"
    " FROM spaces";
inline constexpr const char* kSelectFormerSpaces =
    "SELECT id, model, dtype, layout, layer_group, rank, engine, tenant_salt, x'', layers"
    " FROM spaces";
// Followed by a condition and an order.
inline constexpr const char* kSelectBlocks =
    "SELECT generation, space, key, block_bytes, ordinal, parent, units FROM blocks ";

// Its fields as parameters 1 to kSpecParameters.
inline constexpr int kSpecParameters = 9;
void BindSpec(const SpaceSpec& spec, Statement& statement);

// The current row, of kSelectSpaces, kSelectFormerSpaces or
// kSelectBlocks. False: it breaks a limit or does not decode.
bool ReadSpace(const Statement& row, std::uint32_t& id, SpaceSpec& spec);
bool ReadBlock(const Statement& row, BlockRow& block);

}  // namespace kvpool::catalog
