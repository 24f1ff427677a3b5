#include "bench/catalog/rows.h"

#include <cstring>

#include "base/limits.h"

namespace kvpool::bench {
namespace {

constexpr std::size_t kKeyBytes = 32;

std::uint64_t Mix(std::uint64_t number) {
  number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9ULL;
  number = (number ^ (number >> 27)) * 0x94d049bb133111ebULL;
  return number ^ (number >> 31);
}

std::string KeyAt(std::uint64_t n) {
  std::string key(kKeyBytes, '\0');
  for (std::size_t i = 0; i < kKeyBytes; i += sizeof n) {
    const std::uint64_t word = Mix(n * kKeyBytes + i + 1);
    std::memcpy(key.data() + i, &word, sizeof word);
  }
  return key;
}

}  // namespace

std::uint64_t DriveBytes(const RowShape& shape, std::uint64_t rows) {
  const std::uint64_t units = (rows * shape.units + shape.drives - 1) / shape.drives;
  return (units * shape.unit_bytes + kSlabBytes - 1) / kSlabBytes * kSlabBytes;
}

catalog::BlockRow RowAt(const RowShape& shape, std::uint64_t n) {
  catalog::BlockRow row;
  row.space = shape.space;
  row.key = KeyAt(n);
  row.block_bytes = std::uint64_t{shape.units} * shape.unit_bytes;
  row.generation = n + 1;
  row.ordinal = n % shape.chain;
  if (row.ordinal != 0) row.parent = KeyAt(n - 1);
  for (std::uint32_t unit = 0; unit < shape.units; ++unit) {
    const std::uint64_t number = n * shape.units + unit;
    row.units.emplace_back(static_cast<layout::DeviceIndex>(number % shape.drives),
                           number / shape.drives * shape.unit_bytes, Mix(~number));
  }
  return row;
}

std::vector<catalog::Change> Additions(const RowShape& shape, std::uint64_t begin,
                                       std::uint64_t end) {
  std::vector<catalog::Change> changes;
  changes.reserve(end - begin);
  for (std::uint64_t n = begin; n < end; ++n) {
    changes.push_back({catalog::Change::Kind::kAdd, RowAt(shape, n)});
  }
  return changes;
}

}  // namespace kvpool::bench
