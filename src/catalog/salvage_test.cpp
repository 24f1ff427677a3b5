#include "catalog/salvage.h"

#include <gtest/gtest.h>

#include "catalog/schema.h"
#include "catalog/testing.h"

namespace kvpool::catalog {
namespace {

constexpr std::uint64_t kRows = 2000;

class SalvageTest : public testing::Test {
 protected:
  // A closed catalog of rows 1 to kRows of two spaces.
  SalvageTest() {
    EXPECT_TRUE(Catalog::Create(path_, kPoolId));
    auto catalog = Catalog::Open(path_, kPoolId).value();
    for (const char* model : {"m", "n"}) EXPECT_TRUE(catalog->SpaceId({.model = model}));
    std::mt19937_64 random(7);
    std::vector<Change> changes;
    for (std::uint64_t n = 1; n <= kRows; ++n) {
      changes.push_back({Change::Kind::kAdd, MakeRow(n, random)});
      changes.back().row.space = 1 + n % 2;
    }
    EXPECT_TRUE(catalog->Apply(changes));
    model_ = ModelOf(*catalog).value();
  }

  Model Reopened() { return ModelOf(*Catalog::Open(path_, kPoolId).value()).value(); }

  TestFolder folder_;
  const std::filesystem::path path_ = folder_ / "catalog";
  Model model_;
};

TEST_F(SalvageTest, AGoodCatalogIsFoundGoodAndComesBackWhole) {
  EXPECT_TRUE(Examine(path_, kPoolId).good);
  const Salvaged salvaged = Salvage(path_);
  EXPECT_EQ(salvaged.rows.size(), kRows);
  EXPECT_EQ(salvaged.highest_generation, kRows);
  ASSERT_TRUE(PutAside(path_));
  ASSERT_TRUE(Rebuild(path_, kPoolId, salvaged));
  EXPECT_EQ(Reopened(), model_);
  EXPECT_GT(Catalog::Open(path_, kPoolId).value()->HighestGeneration().value(), kRows);
}

TEST_F(SalvageTest, WhatLiesBesideTheDamageIsSaved) {
  std::string bytes = ReadFile(path_);
  bytes.replace(bytes.size() / 2, 4096 * 3, std::string(4096 * 3, '\x5a'));
  WriteFile(path_, bytes);
  const Finding finding = Examine(path_, kPoolId);
  ASSERT_FALSE(finding.good);
  EXPECT_TRUE(finding.repairable) << finding.sentence;
  const Salvaged salvaged = Salvage(path_);
  EXPECT_GT(salvaged.rows.size(), kRows / 2);
  EXPECT_LT(salvaged.rows.size(), kRows);
  EXPECT_EQ(salvaged.rows.front().generation, kRows);
  EXPECT_LT(salvaged.rows.back().generation, 20u);  // from the other end
  ASSERT_TRUE(PutAside(path_));
  ASSERT_TRUE(Rebuild(path_, kPoolId, salvaged));
  for (const auto& [generation, row] : Reopened()) EXPECT_EQ(row, model_[generation]);
  EXPECT_EQ(ReadFile(path_.string() + ".broken"), bytes) << "the old one is kept";
}

TEST_F(SalvageTest, ATruncatedCatalogIsSavedInPart) {
  const std::string bytes = ReadFile(path_);
  for (const std::size_t size : {bytes.size() / 4, bytes.size() / 2, bytes.size() - 4096}) {
    WriteFile(path_, bytes.substr(0, size));
    if (Examine(path_, kPoolId).good) continue;
    EXPECT_TRUE(Examine(path_, kPoolId).repairable) << size;
    for (const BlockRow& row : Salvage(path_).rows) {
      EXPECT_EQ(Describe(row), model_[row.generation]) << size;
    }
  }
}

TEST_F(SalvageTest, WhatIsNoCatalogAnyMoreBecomesAnEmptyOne) {
  for (const std::string& bytes : {std::string(), std::string(100'000, 'x')}) {
    WriteFile(path_, bytes);
    EXPECT_TRUE(Examine(path_, kPoolId).repairable);
    const Salvaged salvaged = Salvage(path_);
    EXPECT_TRUE(salvaged.rows.empty());
    ASSERT_TRUE(PutAside(path_));
    ASSERT_TRUE(Rebuild(path_, kPoolId, salvaged));
    EXPECT_TRUE(Reopened().empty());
    // Nobody knows the old generations, but none of them comes again.
    EXPECT_GT(Catalog::Open(path_, kPoolId).value()->HighestGeneration().value(), 1u << 30);
  }
}

TEST_F(SalvageTest, AnotherVersionIsRepairableAndSavesNothing) {
  {
    auto database = Database::Open(path_, false);
    ASSERT_TRUE(database->Execute("PRAGMA user_version = 9"));
  }
  const Finding finding = Examine(path_, kPoolId);
  EXPECT_TRUE(finding.repairable);
  EXPECT_NE(finding.sentence.find("version 2"), std::string::npos) << finding.sentence;
  EXPECT_TRUE(Salvage(path_).rows.empty());
}

TEST_F(SalvageTest, WhatBelongsToOthersIsNotRepaired) {
  EXPECT_FALSE(Examine(path_, kPoolId + 1).good);
  EXPECT_FALSE(Examine(path_, kPoolId + 1).repairable) << "another pool's";
  EXPECT_FALSE(Examine(folder_.path(), kPoolId).repairable) << "a folder";
  {
    auto database = Database::Open(folder_ / "other", true);
    ASSERT_TRUE(database->Execute("CREATE TABLE t (x)"));
  }
  EXPECT_FALSE(Examine(folder_ / "other", kPoolId).repairable) << "another program's";
  const auto open = Catalog::Open(path_, kPoolId);
  EXPECT_FALSE(Examine(path_, kPoolId).repairable) << "in use";
}

TEST_F(SalvageTest, NothingIsOverwrittenByPuttingAside) {
  WriteFile(path_.string() + ".broken", "an older one");
  const auto aside = PutAside(path_);
  ASSERT_TRUE(aside) << aside.error().message;
  EXPECT_EQ(*aside, path_.string() + ".broken2");
  EXPECT_EQ(ReadFile(path_.string() + ".broken"), "an older one");
  EXPECT_EQ(PutAside(path_).error().status, Status::kNotFound);
}

}  // namespace
}  // namespace kvpool::catalog
