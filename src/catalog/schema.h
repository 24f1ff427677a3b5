// The catalog's tables: their statements, and rows as values. Format: docs/formats/catalog.md.
#pragma once

#include <cstdint>

#include "catalog/catalog.h"
#include "catalog/sqlite.h"

namespace kvpool::catalog {

inline constexpr std::uint64_t kApplicationId = 0x6b76706c;  // "kvpl"
inline constexpr std::uint64_t kVersion = 1;

// Far more than one opening of a pool can use up, so that the next one cannot wrap around.
inline constexpr std::uint64_t kGenerationsLeft = std::uint64_t{1} << 48;
inline constexpr std::uint64_t kMaxGeneration = ~std::uint64_t{0} - kGenerationsLeft;

extern const char* const kSchema;  // begins a transaction and leaves it open

inline constexpr const char* kSelectSpaces = "SELECT * FROM spaces";
// Followed by a condition and an order.
inline constexpr const char* kSelectBlocks =
    "SELECT generation, space, key, block_bytes, ordinal, parent, units FROM blocks ";

// Its fields as parameters 1 to 8.
void BindSpec(const SpaceSpec& spec, Statement& statement);

// The current row, of kSelectSpaces or kSelectBlocks. False: it breaks a limit or does not decode.
bool ReadSpace(const Statement& row, std::uint32_t& id, SpaceSpec& spec);
bool ReadBlock(const Statement& row, BlockRow& block);

}  // namespace kvpool::catalog
