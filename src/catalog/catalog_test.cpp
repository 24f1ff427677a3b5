#include "catalog/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "catalog/testing.h"

namespace kvpool::catalog {
namespace {

RC_GTEST_PROP(Catalog, EqualsItsModelAfterReopening, ()) {
  TestFolder folder;
  auto catalog = MustMake(folder / "catalog");
  RC_ASSERT(catalog->SpaceId({.model = "m"}).value() == 1u);
  const auto seed = *rc::gen::arbitrary<std::uint32_t>();
  const auto batches = *rc::gen::inRange<std::uint64_t>(0, 30);
  Model model;
  for (std::uint64_t n = 0; n < batches; ++n) {
    const auto changes = MakeBatch(seed, n);
    RC_ASSERT(catalog->Apply(changes).has_value());
    ApplyTo(model, changes);
    if (*rc::gen::inRange(0, 8) == 0) {
      catalog.reset();
      catalog = MustOpen(folder / "catalog");
    }
  }
  RC_ASSERT(ModelOf(*catalog).value() == model);
  catalog.reset();
  RC_ASSERT(ModelOf(*MustOpen(folder / "catalog")).value() == model);
}

TEST(Catalog, KeepsGenerationsAboveTheSignedRange) {
  TestFolder folder;
  auto catalog = MustMake(folder / "catalog");
  std::mt19937_64 random(1);
  const auto space = catalog->SpaceId({.model = "m"});
  Change change{Change::Kind::kAdd, MakeRow(~std::uint64_t{0} - 5, random)};
  change.row.space = *space;
  change.row.ordinal = ~std::uint64_t{0};
  ASSERT_TRUE(catalog->Apply({&change, 1}));
  Model model;
  ApplyTo(model, {change});
  EXPECT_EQ(ModelOf(*catalog).value(), model);
}

// The generations in the order in which Load visits them.
std::vector<std::uint64_t> Visited(Catalog& catalog) {
  std::vector<std::uint64_t> visited;
  EXPECT_TRUE(catalog.Load([&](BlockRow&& row) { visited.push_back(row.generation); }));
  return visited;
}

TEST(Catalog, LoadsTheNewestFirst) {
  TestFolder folder;
  auto catalog = MustMake(folder / "catalog");
  ASSERT_TRUE(catalog->SpaceId({.model = "m"}));
  std::mt19937_64 random(4);
  constexpr std::uint64_t kTop = std::uint64_t{1} << 63;
  for (const std::uint64_t g : {kTop, std::uint64_t{3}, kTop + 9, kTop - 1, std::uint64_t{700}}) {
    const Change change{Change::Kind::kAdd, MakeRow(g, random)};
    ASSERT_TRUE(catalog->Apply({&change, 1}));
  }
  EXPECT_THAT(Visited(*catalog), ::testing::ElementsAre(kTop + 9, kTop, kTop - 1, 700u, 3u));
}

TEST(Catalog, RemembersTheHighestGenerationOfAll) {
  TestFolder folder;
  auto catalog = MustMake(folder / "catalog");
  std::mt19937_64 random(5);
  EXPECT_EQ(catalog->HighestGeneration().value(), 0u);
  const auto apply = [&](Change::Kind kind, std::uint64_t generation) {
    const Change change{kind, MakeRow(generation, random)};
    ASSERT_TRUE(catalog->Apply({&change, 1}));
  };
  apply(Change::Kind::kAdd, 900);
  apply(Change::Kind::kAdd, 20);
  apply(Change::Kind::kRemove, 900);
  EXPECT_EQ(catalog->HighestGeneration().value(), 900u);
  catalog.reset();
  catalog = MustOpen(folder / "catalog");
  EXPECT_EQ(catalog->HighestGeneration().value(), 900u);
  apply(Change::Kind::kRemove, (std::uint64_t{1} << 63) + 5);
  catalog.reset();
  EXPECT_EQ(MustOpen(folder / "catalog")->HighestGeneration().value(),
            (std::uint64_t{1} << 63) + 5);
}

TEST(Catalog, AHighestGenerationThatIsDamagedIsNoticed) {
  TestFolder folder;
  auto catalog = MustMake(folder / "catalog");
  std::mt19937_64 random(6);
  const Change change{Change::Kind::kAdd, MakeRow(50, random)};
  ASSERT_TRUE(catalog->Apply({&change, 1}));
  catalog.reset();
  Tamper(folder / "catalog", "UPDATE pool SET highest_generation = 7");
  EXPECT_EQ(MustOpen(folder / "catalog")->HighestGeneration().value(), 50u);
  Tamper(folder / "catalog", "UPDATE pool SET highest_generation = -1");
  EXPECT_EQ(MustOpen(folder / "catalog")->HighestGeneration().error().status, Status::kCorrupt);
  Tamper(folder / "catalog", "UPDATE pool SET highest_generation = 'many'");
  EXPECT_EQ(Catalog::Open(folder / "catalog", kPoolId).error().status, Status::kCorrupt);
}

TEST(Catalog, SkipsAndCountsRowsThatDoNotDecode) {
  TestFolder folder;
  auto catalog = MustMake(folder / "catalog");
  ASSERT_TRUE(catalog->SpaceId({.model = "m"}));
  std::mt19937_64 random(2);
  std::vector<Change> changes;
  Model model;
  for (std::uint64_t g = 1; g <= 10; ++g)
    changes.push_back({Change::Kind::kAdd, MakeRow(g, random)});
  ASSERT_TRUE(catalog->Apply(changes));
  ApplyTo(model, changes);
  catalog.reset();
  Tamper(folder / "catalog",
         "UPDATE blocks SET units = x'02000100' WHERE generation = 1;"
         "UPDATE blocks SET units = 'text' WHERE generation = 2;"
         "UPDATE blocks SET key = x'' WHERE generation = 3;"
         "UPDATE blocks SET key = zeroblob(513) WHERE generation = 4;"
         "UPDATE blocks SET parent = zeroblob(513) WHERE generation = 5;"
         "UPDATE blocks SET block_bytes = 1 << 40 WHERE generation = 6;"
         "UPDATE blocks SET space = 77 WHERE generation = 7;"
         "UPDATE blocks SET ordinal = 1.5 WHERE generation = 8;");
  for (std::uint64_t g = 1; g <= 8; ++g) model.erase(g);
  std::uint64_t skipped = 0;
  EXPECT_EQ(ModelOf(*MustOpen(folder / "catalog"), &skipped).value(), model);
  EXPECT_EQ(skipped, 8u);
}

TEST(Catalog, RemembersWhatWasWrittenToEachDrive) {
  TestFolder folder;
  const std::vector<WearRow> rows{{1, 10, 20, 30}, {~std::uint64_t{0} - 1, 1ull << 62, 0, -5}};
  {
    auto catalog = MustMake(folder / "catalog");
    EXPECT_THAT(catalog->Wear().value(), testing::IsEmpty());
    ASSERT_TRUE(catalog->RecordWear(std::vector<WearRow>{{1, 9, 9, 9}}));
    ASSERT_TRUE(catalog->RecordWear(rows));
  }
  auto catalog = Catalog::Open(folder / "catalog", kPoolId).value();
  EXPECT_THAT(catalog->Wear().value(), testing::UnorderedElementsAreArray(rows));
}

TEST(Catalog, ACatalogFromBeforeWearWasCountedGetsItsTable) {
  TestFolder folder;
  MustMake(folder / "catalog");
  Tamper(folder / "catalog", "DROP TABLE wear");
  auto catalog = Catalog::Open(folder / "catalog", kPoolId).value();
  EXPECT_THAT(catalog->Wear().value(), testing::IsEmpty());
  EXPECT_TRUE(catalog->RecordWear(std::vector<WearRow>{{1, 2, 3, 4}}));
}

TEST(Catalog, WearThatDoesNotDecodeIsLeftOut) {
  TestFolder folder;
  ASSERT_TRUE(MustMake(folder / "catalog")
                  ->RecordWear(std::vector<WearRow>{{1, 10, 20, 30}, {2, 10, 20, 30}}));
  Tamper(folder / "catalog", "UPDATE wear SET budget_left = 'much' WHERE device_id = 1");
  auto catalog = Catalog::Open(folder / "catalog", kPoolId).value();
  EXPECT_THAT(catalog->Wear().value(), testing::ElementsAre(WearRow{2, 10, 20, 30}));
}

}  // namespace
}  // namespace kvpool::catalog
