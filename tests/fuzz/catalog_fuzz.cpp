// Any bytes: units that encode to the same bytes again, or a refusal.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "catalog/units_blob.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto blob = std::as_bytes(std::span(data, size));
  std::vector<kvpool::layout::UnitRecord> units;
  if (!kvpool::catalog::DecodeUnits(blob, units)) {
    KVPOOL_CHECK(units.empty());
    return 0;
  }
  std::vector<std::byte> again;
  kvpool::catalog::EncodeUnits(units, again);
  KVPOOL_CHECK(std::equal(again.begin(), again.end(), blob.begin(), blob.end()));
  return 0;
}
