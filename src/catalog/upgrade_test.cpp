// A catalog of version 1, whose spaces have no owner, is taken over as it is.
#include <gtest/gtest.h>

#include "catalog/salvage.h"
#include "catalog/sqlite.h"
#include "catalog/testing.h"

namespace kvpool::catalog {
namespace {

const SpaceSpec kSpec{"m", "d", "l", "g", "r", "e", std::string("t\0x", 3)};

class UpgradeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(Catalog::Create(path_, kPoolId));
    auto catalog = Catalog::Open(path_, kPoolId).value();
    ASSERT_EQ(catalog->SpaceId(kSpec).value(), 1u);
    ASSERT_EQ(catalog->SpaceId({.model = "other"}).value(), 2u);
    std::mt19937_64 random(5);
    for (std::uint64_t generation = 1; generation <= 50; ++generation) {
      const Change change{Change::Kind::kAdd, MakeRow(generation, random)};
      ASSERT_TRUE(catalog->Apply({&change, 1}));
    }
    model_ = ModelOf(*catalog).value();
    catalog.reset();
    MakeFormer(path_);
    ASSERT_EQ(VersionOfFile(), 1u);
  }
  std::uint64_t VersionOfFile() {
    return Database::Open(path_, false)->Number("PRAGMA user_version").value();
  }

  TestFolder folder_;
  const std::filesystem::path path_ = folder_ / "catalog";
  Model model_;
};

TEST_F(UpgradeTest, KeepsItsSpacesAndRows) {
  auto catalog = Catalog::Open(path_, kPoolId);
  ASSERT_TRUE(catalog) << catalog.error().message;
  EXPECT_EQ((*catalog)->SpaceId(kSpec).value(), 1u);
  EXPECT_EQ((*catalog)->SpaceId({.model = "other"}).value(), 2u);
  EXPECT_EQ(ModelOf(**catalog).value(), model_);
  EXPECT_EQ((*catalog)->HighestGeneration().value(), 50u);
  SpaceSpec owned = kSpec;
  owned.owner = "a";
  EXPECT_EQ((*catalog)->SpaceId(owned).value(), 3u);
  catalog->reset();
  EXPECT_EQ(VersionOfFile(), 2u);
  auto again = Catalog::Open(path_, kPoolId).value();
  EXPECT_EQ(again->SpaceId(owned).value(), 3u);
  EXPECT_EQ(ModelOf(*again).value(), model_);
}

TEST_F(UpgradeTest, CanBeSalvaged) {
  const Salvaged salvaged = Salvage(path_);
  EXPECT_EQ(salvaged.rows.size(), 50u);
  ASSERT_EQ(salvaged.spaces.size(), 2u);
  EXPECT_EQ(salvaged.spaces[0].second.tenant_salt, kSpec.tenant_salt);
  EXPECT_EQ(salvaged.spaces[0].second.owner, "");
  EXPECT_EQ(VersionOfFile(), 1u) << "salvaging changes nothing";
}

}  // namespace
}  // namespace kvpool::catalog
