#include "tests/sim/dormant.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "base/limits.h"
#include "tests/sim/random.h"

namespace kvpool::sim {

bool Dormant::IsAway(std::span<const layout::UnitRecord> units) const {
  return std::any_of(units.begin(), units.end(), [&](const layout::UnitRecord& unit) {
    return (rack_.away_mask() >> unit.device() & 1) != 0;
  });
}

// Whole slabs: whoever takes a unit's place may cut its slab anew.
std::uint64_t Dormant::DigestOf(std::span<const layout::UnitRecord> units) const {
  std::set<std::pair<std::size_t, std::uint64_t>> slabs;
  for (const auto& unit : units) slabs.emplace(unit.device(), unit.offset() / kSlabBytes);
  std::uint64_t digest = 0;
  for (const auto& [place, slab] : slabs) {
    const SimDrive& drive = rack_.drive(place);
    if ((slab + 1) * kSlabBytes > drive.spec().capacity_bytes) return 0;
    const std::byte* at = drive.stored() + slab * kSlabBytes;
    for (std::uint64_t i = 0; i < kSlabBytes; i += 8) {
      std::uint64_t word;
      std::memcpy(&word, at + i, 8);
      digest = digest * 0x9e3779b97f4a7c15 ^ (digest >> 32) ^ word;
    }
  }
  return digest | 1;
}

void Dormant::Look(std::span<const catalog::BlockRow> rows,
                   std::span<const std::uint32_t> space_ids) {
  std::erase_if(sleepers_, [&](const Sleeper& one) {
    if (IsAway(one.units)) return false;
    if (DigestOf(one.units) == one.digest) oracle_.Wake(one.key, one.version);
    return true;
  });
  if (rack_.away_mask() == 0) return;
  std::map<std::pair<std::uint32_t, std::string_view>, const catalog::BlockRow*> newest;
  for (const auto& row : rows) newest.try_emplace({row.space, row.key}, &row);
  for (std::uint32_t key = 0; key < oracle_.size(); ++key) {
    const auto version = oracle_.Required(key);
    const KeyRecord& record = oracle_.key(key);
    const auto row = newest.find({space_ids[record.space], record.name});
    if (!version || row == newest.end() || !IsAway(row->second->units)) continue;
    const auto& units = row->second->units;
    sleepers_.push_back({key, *version, units, DigestOf(units)});
    oracle_.Sleep(key);
  }
}

void Dormant::Forget(std::uint32_t key) {
  std::erase_if(sleepers_, [&](const Sleeper& one) { return one.key == key; });
}

}  // namespace kvpool::sim
