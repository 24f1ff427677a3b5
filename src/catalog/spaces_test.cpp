// Spaces in a catalog: their fields, their numbers, and rows that break a limit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "catalog/catalog.h"
#include "catalog/testing.h"

namespace kvpool::catalog {
namespace {

using ::testing::HasSubstr;

TEST(CatalogSpaces, SpacesThatDifferInAnyFieldDiffer) {
  TestFolder folder;
  auto catalog = MustMake(folder / "catalog");
  const SpaceSpec spec{"m", "d", "l", "g", "r", "e", std::string("t\0x", 3), "o", 32};
  std::vector<SpaceSpec> specs(10, spec);
  specs[1].model = "x";
  specs[2].dtype = "x";
  specs[3].layout = "x";
  specs[4].layer_group = "x";
  specs[5].rank = "";
  specs[6].engine = "x";
  specs[7].tenant_salt = "t";
  specs[8].owner = "x";
  specs[9].layers = 33;
  std::map<std::uint32_t, std::size_t> ids;
  for (std::size_t i = 0; i < specs.size(); ++i) ids[catalog->SpaceId(specs[i]).value()] = i;
  EXPECT_EQ(ids.size(), specs.size());
  catalog.reset();
  catalog = MustOpen(folder / "catalog");
  for (const auto& [id, i] : ids) EXPECT_EQ(catalog->SpaceId(specs[i]).value(), id);
  const auto spaces = catalog->Spaces().value();
  ASSERT_EQ(spaces.size(), specs.size());
  for (const auto& [id, read] : spaces) {
    const SpaceSpec& written = specs[ids.at(id)];
    EXPECT_EQ(read.model, written.model);
    EXPECT_EQ(read.rank, written.rank);
    EXPECT_EQ(read.tenant_salt, written.tenant_salt);
    EXPECT_EQ(read.owner, written.owner);
    EXPECT_EQ(read.layers, written.layers);
  }
}

TEST(CatalogSpaces, LeavesOutSpacesThatBreakALimitAndCountsTheirBlocks) {
  const std::vector<const char*> damages{
      "UPDATE spaces SET layers = 0 WHERE id = 1",
      "UPDATE spaces SET layers = -1 WHERE id = 1",
      "UPDATE spaces SET layers = 1025 WHERE id = 1",
      "UPDATE spaces SET layers = 1 << 33 | 1 WHERE id = 1",
      "UPDATE spaces SET layers = 'text' WHERE id = 1",
      "UPDATE spaces SET layers = 1.5 WHERE id = 1",
      "UPDATE spaces SET model = 'text' WHERE id = 1",
      "UPDATE spaces SET id = 0 WHERE id = 1",
      "UPDATE spaces SET id = -1 WHERE id = 1",
      "UPDATE spaces SET id = 1000001 WHERE id = 1; UPDATE blocks SET space = 1000001",
      "UPDATE spaces SET id = 1 << 32 | 2 WHERE id = 1"};
  for (const char* damage : damages) {
    SCOPED_TRACE(damage);
    TestFolder folder;
    auto catalog = MustMake(folder / "catalog");
    ASSERT_EQ(catalog->SpaceId({.model = "m"}).value(), 1u);
    ASSERT_EQ(catalog->SpaceId({.model = "n"}).value(), 2u);
    std::mt19937_64 random(8);
    const Change change{Change::Kind::kAdd, MakeRow(50, random)};
    ASSERT_TRUE(catalog->Apply({&change, 1}));
    catalog.reset();
    Tamper(folder / "catalog", damage);
    catalog = MustOpen(folder / "catalog");
    const auto spaces = catalog->Spaces().value();
    ASSERT_EQ(spaces.size(), 1u);
    EXPECT_EQ(spaces[0].first, 2u);
    std::uint64_t skipped = 0;
    EXPECT_TRUE(ModelOf(*catalog, &skipped).value().empty());
    EXPECT_EQ(skipped, 1u);
    const auto again = catalog->SpaceId({.model = "m"});
    EXPECT_TRUE(again ? *again > 2 && *again <= kMaxSpaceId
                      : again.error().status == Status::kCorrupt);
  }
}

TEST(CatalogSpaces, RecordsNoSpaceThatItWouldLeaveOut) {
  TestFolder folder;
  auto catalog = MustMake(folder / "catalog");
  EXPECT_EQ(catalog->SpaceId({.layers = 0}).error().status, Status::kInvalid);
  EXPECT_EQ(catalog->SpaceId({.layers = 1025}).error().status, Status::kInvalid);
  EXPECT_TRUE(catalog->SpaceId({.layers = 1024}));
  EXPECT_EQ(catalog->Spaces().value().size(), 1u);
}

TEST(CatalogSpaces, ANumberThatIsFreeIsGivenOutAgain) {
  TestFolder folder;
  auto catalog = MustMake(folder / "catalog");
  for (const char* model : {"1", "2", "3", "4"}) ASSERT_TRUE(catalog->SpaceId({.model = model}));
  ASSERT_TRUE(catalog->Forget(std::vector<std::uint32_t>{3, 2}));
  EXPECT_EQ(catalog->Spaces().value().size(), 2u);
  EXPECT_EQ(catalog->SpaceId({.model = "new"}).value(), 2u);
  catalog.reset();
  catalog = MustOpen(folder / "catalog");
  EXPECT_EQ(catalog->SpaceId({.model = "new"}).value(), 2u);
  EXPECT_EQ(catalog->SpaceId({.model = "4"}).value(), 4u);
  EXPECT_EQ(catalog->SpaceId({.model = "newer"}).value(), 3u);
  EXPECT_EQ(catalog->SpaceId({.model = "newest"}).value(), 5u);
}

TEST(CatalogSpaces, ANumberThatARowNamesIsGivenToNoOtherSpace) {
  TestFolder folder;
  auto catalog = MustMake(folder / "catalog");
  ASSERT_EQ(catalog->SpaceId({.model = "m"}).value(), 1u);
  std::mt19937_64 random(9);
  const Change change{Change::Kind::kAdd, MakeRow(50, random)};
  ASSERT_TRUE(catalog->Apply({&change, 1}));
  catalog.reset();
  Tamper(folder / "catalog", "DELETE FROM spaces");
  catalog = MustOpen(folder / "catalog");
  std::uint64_t skipped = 0;
  EXPECT_TRUE(ModelOf(*catalog, &skipped).value().empty());
  EXPECT_EQ(skipped, 1u);
  EXPECT_EQ(catalog->SpaceId({.model = "n"}).value(), 2u);
}

TEST(CatalogSpaces, AsManySpacesAsThereMayBeIsOneSentence) {
  TestFolder folder;
  MustMake(folder / "catalog");
  Tamper(folder / "catalog",
         "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)"
         " INSERT INTO spaces SELECT i, CAST(i AS BLOB), x'', x'', x'', x'', x'', x'', x'', 1"
         " FROM n");
  auto catalog = MustOpen(folder / "catalog");
  const auto refused = catalog->SpaceId({.model = "m"});
  EXPECT_EQ(refused.error().status, Status::kNoSpace);
  EXPECT_THAT(refused.error().message, HasSubstr("1000000 spaces"));
  EXPECT_EQ(catalog->SpaceId({.model = "777"}).value(), 777u);
  ASSERT_TRUE(catalog->Forget(std::vector<std::uint32_t>{777}));
  EXPECT_EQ(catalog->SpaceId({.model = "m"}).value(), 777u);
}

}  // namespace
}  // namespace kvpool::catalog
