#include "pool/kept_rows.h"

#include "base/checksum.h"

namespace kvpool::pool {

void KeptRows::Keep(const catalog::BlockRow& row) {
  std::uint64_t devices = 0;
  for (const layout::UnitRecord& unit : row.units) devices |= std::uint64_t{1} << unit.device();
  rows_.emplace(Digest(row.key, row.space), Row{row.generation, devices});
}

bool KeptRows::Has(std::uint32_t space, Key key) const {
  return !rows_.empty() && rows_.contains(Digest(key, space));
}

void KeptRows::TakeKey(std::uint32_t space, Key key, std::vector<std::uint64_t>& generations) {
  if (rows_.empty()) return;
  const auto [begin, end] = rows_.equal_range(Digest(key, space));
  for (auto row = begin; row != end; ++row) generations.push_back(row->second.generation);
  rows_.erase(begin, end);
}

void KeptRows::TakeDevice(std::size_t device, std::vector<std::uint64_t>& generations) {
  std::erase_if(rows_, [&](const auto& row) {
    if ((row.second.devices >> device & 1) == 0) return false;
    generations.push_back(row.second.generation);
    return true;
  });
}

}  // namespace kvpool::pool
