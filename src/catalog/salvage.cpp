#include "catalog/salvage.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <set>

#include "catalog/schema.h"
#include "catalog/sqlite.h"

namespace kvpool::catalog {
namespace {

namespace fs = std::filesystem;

// No database at all, not even an empty one of another program.
bool IsNoDatabase(const fs::path& path) {
  constexpr std::string_view kMagic("SQLite format 3", 16);
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored) || access(path.c_str(), R_OK | W_OK) != 0) return false;
  std::string head(kMagic.size(), '\0');
  std::ifstream(path, std::ios::binary)
      .read(head.data(), static_cast<std::streamsize>(head.size()));
  return head != kMagic;
}

// A catalog of kvpool's, and of which version.
std::optional<std::uint64_t> VersionOf(Database& database) {
  const auto application = database.Number("PRAGMA application_id");
  if (!application || *application != kApplicationId) return std::nullopt;
  const auto version = database.Number("PRAGMA user_version");
  return version ? std::optional(*version) : std::nullopt;
}

bool IsOfAnotherVersion(const fs::path& path) {
  auto database = Database::Open(path, false);
  if (!database) return false;
  const auto version = VersionOf(*database);
  return version && *version != kVersion && *version != kFormerVersion;
}

Finding Refused(const fs::path& path, const Error& error) {
  Finding finding{.sentence = error.message};
  switch (error.status) {
    case Status::kNotFound:
    case Status::kCorrupt:
      finding.repairable = true;
      break;
    case Status::kInvalid:
      finding.repairable = IsNoDatabase(path) || IsOfAnotherVersion(path);
      break;
    default:
      break;
  }
  return finding;
}

// Rows in the order of `sql` until one cannot be read; false: that was not the end.
template <class Take>
bool ReadUntilDamage(Database& database, const std::string& sql, Take&& take) {
  auto rows = database.Prepare(sql.c_str());
  if (!rows) return false;
  while (true) {
    const auto row = rows->Step();
    if (!row) return false;
    if (!*row) return true;
    if (!take(*rows)) return true;
  }
}

void SalvageSpaces(Database& database, const char* select, Salvaged& salvaged) {
  std::set<std::uint32_t> met;
  ReadUntilDamage(database, select, [&](const Statement& row) {
    std::pair<std::uint32_t, SpaceSpec> space;
    if (ReadSpace(row, space.first, space.second) && met.insert(space.first).second) {
      salvaged.spaces.push_back(std::move(space));
    }
    return true;
  });
}

// From the newest down, then from the oldest up to where that ended.
void SalvageRows(Database& database, Salvaged& salvaged) {
  std::set<std::uint32_t> known;
  for (const auto& [id, spec] : salvaged.spaces) known.insert(id);
  const auto good = [&](const Statement& row, BlockRow& block) {
    return ReadBlock(row, block) && known.contains(block.space) &&
           block.generation <= kMaxGeneration;
  };
  std::vector<BlockRow>& rows = salvaged.rows;
  const std::string select = kSelectBlocks;
  const bool whole = ReadUntilDamage(
      database, select + "WHERE generation >= 0 ORDER BY generation DESC",
      [&](const Statement& row) {
        BlockRow block;
        if (good(row, block) && (rows.empty() || block.generation < rows.back().generation)) {
          rows.push_back(std::move(block));
        }
        return true;
      });
  if (whole) return;
  std::vector<BlockRow> oldest;
  ReadUntilDamage(database, select + "WHERE generation >= 0 ORDER BY generation",
                  [&](const Statement& row) {
                    BlockRow block;
                    if (!good(row, block)) return true;
                    if (!rows.empty() && block.generation >= rows.back().generation) return false;
                    if (oldest.empty() || block.generation > oldest.back().generation) {
                      oldest.push_back(std::move(block));
                    }
                    return true;
                  });
  std::move(oldest.rbegin(), oldest.rend(), std::back_inserter(rows));
}

std::uint64_t SecondsNow() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count());
}

// A pool gives out fewer than 2^24 generations a second.
std::uint64_t NextGenerations(const Salvaged& salvaged) {
  constexpr int kGenerationsASecond = 24;
  const std::uint64_t by_clock = (SecondsNow() & 0xffffffff) << kGenerationsASecond;
  return std::max(salvaged.highest_generation, by_clock);
}

Result<void> Fill(Catalog& catalog, const Salvaged& salvaged) {
  constexpr std::size_t kBatch = 10'000;
  std::map<std::uint32_t, std::uint32_t> new_ids;
  for (const auto& [id, spec] : salvaged.spaces) {
    const auto given = catalog.SpaceId(spec);
    if (!given) return tl::unexpected(given.error());
    new_ids[id] = *given;
  }
  std::vector<Change> batch;
  for (const BlockRow& row : salvaged.rows) {
    batch.push_back({Change::Kind::kAdd, row});
    batch.back().row.space = new_ids.at(row.space);
    if (batch.size() < kBatch && &row != &salvaged.rows.back()) continue;
    if (auto applied = catalog.Apply(batch); !applied) return applied;
    batch.clear();
  }
  // A removal of what was never there raises what the catalog knows to be the highest.
  Change raise{Change::Kind::kRemove, {}};
  raise.row.generation = NextGenerations(salvaged) + 1;
  return catalog.Apply({&raise, 1});
}

}  // namespace

Finding Examine(const fs::path& path, std::uint64_t pool_id) {
  auto catalog = Catalog::Open(path, pool_id);
  if (!catalog) return Refused(path, catalog.error());
  const auto spaces = (*catalog)->Spaces();
  if (!spaces) return Refused(path, spaces.error());
  const auto highest = (*catalog)->HighestGeneration();
  if (!highest) return Refused(path, highest.error());
  const auto loaded = (*catalog)->Load([](BlockRow&&) {});
  if (!loaded) return Refused(path, loaded.error());
  return {.good = true};
}

Salvaged Salvage(const fs::path& path) {
  Salvaged salvaged;
  auto database = Database::Open(path, false);
  if (!database) return salvaged;
  const auto version = VersionOf(*database);
  if (version != kVersion && version != kFormerVersion) return salvaged;
  SalvageSpaces(*database, version == kVersion ? kSelectSpaces : kSelectFormerSpaces, salvaged);
  SalvageRows(*database, salvaged);
  const auto highest = database->Number("SELECT highest_generation FROM pool");
  if (highest && *highest <= kMaxGeneration) salvaged.highest_generation = *highest;
  if (!salvaged.rows.empty()) {
    salvaged.highest_generation =
        std::max(salvaged.highest_generation, salvaged.rows.front().generation);
  }
  return salvaged;
}

Result<fs::path> PutAside(const fs::path& path) {
  std::error_code code;
  for (int number = 1; number < 1000; ++number) {
    const fs::path aside = path.string() + ".broken" + (number == 1 ? "" : std::to_string(number));
    if (fs::exists(fs::symlink_status(aside, code))) continue;
    fs::rename(path, aside, code);
    if (code && code != std::errc::no_such_file_or_directory) break;
    std::error_code ignored;  // there may be none; without the catalog, one would be in the way
    fs::rename(path.string() + "-wal", aside.string() + "-wal", ignored);
    fs::remove(path.string() + "-shm", ignored);
    if (code) break;
    return aside;
  }
  return Fail(code == std::errc::no_such_file_or_directory ? Status::kNotFound : Status::kInvalid,
              fmt::format("{} cannot be put aside ({}): {}", path.string(), code.message(),
                          AdviceFor(code.value())),
              code.value());
}

Result<void> Rebuild(const fs::path& path, std::uint64_t pool_id, const Salvaged& salvaged) {
  if (auto created = Catalog::Create(path, pool_id); !created) return created;
  auto catalog = Catalog::Open(path, pool_id);
  if (!catalog) return tl::unexpected(catalog.error());
  return Fill(**catalog, salvaged);
}

}  // namespace kvpool::catalog
