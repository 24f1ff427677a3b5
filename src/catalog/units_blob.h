// The units of a block as the catalog stores them: one blob, docs/formats/catalog.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "layout/extent.h"

namespace kvpool::catalog {

inline constexpr std::uint8_t kUnitsFormat = 1;
inline constexpr std::size_t kUnitsHeaderBytes = 4;
inline constexpr std::size_t kUnitBytes = 16;

// Replaces `blob`. 1 to kMaxUnitsPerBlock units.
void EncodeUnits(std::span<const layout::UnitRecord> units, std::vector<std::byte>& blob);

// Replaces `units`. False when the blob is of another format or length, or names what no device
// can have; `units` is then empty. Takes any bytes.
bool DecodeUnits(std::span<const std::byte> blob, std::vector<layout::UnitRecord>& units);

}  // namespace kvpool::catalog
