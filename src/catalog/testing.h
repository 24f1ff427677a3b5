// Folders, rows and models for the catalog's tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>

#include "catalog/catalog.h"
#include "catalog/sqlite.h"

namespace kvpool::catalog {

inline constexpr std::uint64_t kPoolId = 0xfedcba9876543210;

inline std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void WriteFile(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// A folder of its own, gone with the object.
class TestFolder {
 public:
  TestFolder() {
    // In memory where there is a place: these tests kill processes, not machines.
    const std::filesystem::path memory = "/dev/shm";
    const bool usable = access(memory.c_str(), W_OK) == 0;
    const auto folder = usable ? memory : std::filesystem::temp_directory_path();
    std::string name = (folder / "kvpool-catalog-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path operator/(const char* name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Makes a closed catalog one of version 1, as the kvpool of then would have left it.
inline void MakeFormer(const std::filesystem::path& path) {
  auto database = Database::Open(path, false);
  ASSERT_TRUE(database) << database.error().message;
  const auto made = database->Execute(
      "BEGIN;"
      "CREATE TABLE former (id INTEGER PRIMARY KEY AUTOINCREMENT, model BLOB NOT NULL,"
      " dtype BLOB NOT NULL, layout BLOB NOT NULL, layer_group BLOB NOT NULL, rank BLOB NOT NULL,"
      " engine BLOB NOT NULL, tenant_salt BLOB NOT NULL, layers INTEGER NOT NULL,"
      " UNIQUE (model, dtype, layout, layer_group, rank, engine, tenant_salt, layers));"
      "INSERT INTO former SELECT id, model, dtype, layout, layer_group, rank, engine, tenant_salt,"
      " layers FROM spaces WHERE owner = x'';"
      "DROP TABLE spaces;"
      "ALTER TABLE former RENAME TO spaces;"
      "PRAGMA user_version = 1;"
      "COMMIT");
  ASSERT_TRUE(made) << made.error().message;
}

inline std::unique_ptr<Catalog> MustOpen(const std::filesystem::path& path) {
  auto catalog = Catalog::Open(path, kPoolId);
  EXPECT_TRUE(catalog) << catalog.error().message;
  return catalog ? std::move(*catalog) : nullptr;
}

inline std::unique_ptr<Catalog> MustMake(const std::filesystem::path& path) {
  const auto made = Catalog::Create(path, kPoolId);
  EXPECT_TRUE(made) << made.error().message;
  return MustOpen(path);
}

// Runs SQL on a closed catalog, as damage or another version would.
inline void Tamper(const std::filesystem::path& path, const char* sql) {
  auto database = Database::Open(path, false);
  ASSERT_TRUE(database) << database.error().message;
  const auto done = database->Execute(sql);
  ASSERT_TRUE(done) << done.error().message;
}

// What a catalog should hold, as text that compares.
using Model = std::map<std::uint64_t, std::string>;

inline std::string Describe(const BlockRow& row) {
  std::string text = std::to_string(row.space) + "/" + row.key + "/" + row.parent + "/" +
                     std::to_string(row.block_bytes) + "/" + std::to_string(row.ordinal);
  for (const layout::UnitRecord& unit : row.units) {
    text += ":" + std::to_string(unit.device()) + "," + std::to_string(unit.offset()) + "," +
            std::to_string(unit.checksum());
  }
  return text;
}

inline void ApplyTo(Model& model, const std::vector<Change>& changes) {
  for (const Change& change : changes) {
    if (change.kind == Change::Kind::kRemove) {
      model.erase(change.row.generation);
    } else {
      model[change.row.generation] = Describe(change.row);
    }
  }
}

// The model of what `catalog` holds; `skipped` counts the rows that did not decode.
inline Result<Model> ModelOf(Catalog& catalog, std::uint64_t* skipped = nullptr) {
  Model model;
  const auto result = catalog.Load([&](BlockRow&& row) { model[row.generation] = Describe(row); });
  if (!result) return tl::unexpected(result.error());
  if (skipped != nullptr) *skipped = *result;
  return model;
}

inline BlockRow MakeRow(std::uint64_t generation, std::mt19937_64& random) {
  BlockRow row;
  row.space = 1;
  row.generation = generation;
  row.ordinal = random() % 1000;
  row.key = std::string(1 + random() % 40, static_cast<char>(random()));
  row.parent = std::string(random() % 40, static_cast<char>(random()));
  const std::size_t units = 1 + random() % 8;
  row.block_bytes = units * 65536;
  for (std::size_t i = 0; i < units; ++i) {
    row.units.emplace_back(static_cast<layout::DeviceIndex>(random() % 64), (random() >> 24) << 12,
                           random());
  }
  return row;
}

// The n-th batch of a seeded history: the same in whatever process makes it.
inline std::vector<Change> MakeBatch(std::uint64_t seed, std::uint64_t n) {
  std::mt19937_64 random(seed * 1'000'003 + n);
  std::vector<Change> changes;
  for (std::uint64_t i = 0; i < 1 + random() % 20; ++i) {
    const std::uint64_t generation = random() % 200;
    if (random() % 3 == 0) {
      changes.push_back({Change::Kind::kRemove, {.generation = generation}});
    } else {
      changes.push_back({Change::Kind::kAdd, MakeRow(generation, random)});
    }
  }
  return changes;
}

}  // namespace kvpool::catalog
