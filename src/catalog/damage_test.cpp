// Damaged files are refused with one sentence, or read as far as they decode. Never a crash.
#include <gtest/gtest.h>

#include <random>

#include "catalog/catalog.h"
#include "catalog/testing.h"

namespace kvpool::catalog {
namespace {

// A closed catalog with a few hundred rows.
std::string GoodFile(const TestFolder& folder) {
  EXPECT_TRUE(Catalog::Create(folder / "good", kPoolId));
  auto catalog = Catalog::Open(folder / "good", kPoolId).value();
  EXPECT_TRUE(catalog->SpaceId({.model = "m"}));
  for (std::uint64_t n = 0; n < 40; ++n) EXPECT_TRUE(catalog->Apply(MakeBatch(1, n)));
  catalog.reset();
  return ReadFile(folder / "good");
}

void ExpectOneSentence(const Error& error) {
  EXPECT_NE(error.status, Status::kOk);
  EXPECT_FALSE(error.message.empty());
  EXPECT_EQ(error.message.find('\n'), std::string::npos) << error.message;
}

// Does everything with the file; returns false when something was refused.
bool Exercise(const std::filesystem::path& path) {
  auto catalog = Catalog::Open(path, kPoolId);
  if (!catalog) {
    ExpectOneSentence(catalog.error());
    return false;
  }
  bool good = true;
  const auto keep = [&](const auto& result) {
    if (result) return;
    ExpectOneSentence(result.error());
    good = false;
  };
  keep((*catalog)->Spaces());
  keep((*catalog)->SpaceId({.model = "new"}));
  keep((*catalog)->Load([](BlockRow&& row) { EXPECT_FALSE(row.key.empty()); }));
  for (std::uint64_t n = 0; n < 5; ++n) keep((*catalog)->Apply(MakeBatch(2, n)));
  return good;
}

TEST(CatalogDamage, WhatIsNoCatalogIsRefused) {
  TestFolder folder;
  for (const std::string& bytes : {std::string(), std::string("SQLite format 3"),
                                   std::string(100'000, 'x'), std::string(4096, '\0')}) {
    WriteFile(folder / "catalog", bytes);
    const auto catalog = Catalog::Open(folder / "catalog", kPoolId);
    ASSERT_FALSE(catalog) << bytes.size();
    ExpectOneSentence(catalog.error());
    EXPECT_EQ(catalog.error().status, Status::kInvalid);
    EXPECT_EQ(ReadFile(folder / "catalog"), bytes) << "it was changed";
  }
  const auto a_folder = Catalog::Open(folder.path(), kPoolId);
  ASSERT_FALSE(a_folder);
  ExpectOneSentence(a_folder.error());
}

TEST(CatalogDamage, ATruncatedFileIsRefusedOrReadInPart) {
  TestFolder folder;
  const std::string good = GoodFile(folder);
  ASSERT_GT(good.size(), 16'384u);
  std::size_t refused = 0;
  for (std::size_t size = 0; size < good.size(); size += 1531) {
    WriteFile(folder / "catalog", good.substr(0, size));
    if (!Exercise(folder / "catalog")) ++refused;
    std::filesystem::remove(folder / "catalog-wal");
  }
  EXPECT_GT(refused, 0u);
}

TEST(CatalogDamage, OverwrittenBytesNeverCrashIt) {
  TestFolder folder;
  const std::string good = GoodFile(folder);
  WriteFile(folder / "catalog", good);
  ASSERT_TRUE(Exercise(folder / "catalog"));
  std::mt19937_64 random(11);
  std::size_t refused = 0;
  for (int i = 0; i < 300; ++i) {
    std::string bytes = good;
    const std::size_t at = random() % bytes.size();
    const std::size_t length = std::min<std::size_t>(1 + random() % 512, bytes.size() - at);
    for (std::size_t j = 0; j < length; ++j) bytes[at + j] = static_cast<char>(random());
    WriteFile(folder / "catalog", bytes);
    if (!Exercise(folder / "catalog")) ++refused;
    std::filesystem::remove(folder / "catalog-wal");
  }
  EXPECT_GT(refused, 0u);
}

}  // namespace
}  // namespace kvpool::catalog
