#include "bench/catalog/rows.h"

#include <gtest/gtest.h>

#include <set>

namespace kvpool::bench {
namespace {

TEST(RowsTest, NoTwoRowsShareAKeyOrASlotAndAllLieOnTheDrives) {
  const RowShape shape{.units = 6, .unit_bytes = 128 * 1024, .drives = 4, .chain = 10};
  constexpr std::uint64_t kRows = 1000;
  std::set<std::string> keys;
  std::set<std::pair<int, std::uint64_t>> slots;
  for (std::uint64_t n = 0; n < kRows; ++n) {
    const catalog::BlockRow row = RowAt(shape, n);
    EXPECT_TRUE(keys.insert(row.key).second);
    EXPECT_EQ(row.parent, n % 10 == 0 ? std::string() : RowAt(shape, n - 1).key);
    for (const layout::UnitRecord& unit : row.units) {
      EXPECT_TRUE(slots.emplace(unit.device(), unit.offset()).second);
      EXPECT_LE(unit.offset() + shape.unit_bytes, DriveBytes(shape, kRows));
    }
  }
}

}  // namespace
}  // namespace kvpool::bench
