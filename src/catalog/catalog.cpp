#include "catalog/catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string_view>

#include "base/check.h"
#include "base/limits.h"
#include "catalog/schema.h"
#include "catalog/space_ids.h"
#include "catalog/sqlite.h"
#include "catalog/unfinished.h"
#include "catalog/units_blob.h"

namespace kvpool::catalog {
namespace {

// These change nothing in the file. The lock is taken with the first read, so that a second
// process learns of the first when it opens.
constexpr const char* kCautions =
    "PRAGMA locking_mode = EXCLUSIVE;"
    "PRAGMA cell_size_check = ON;";
constexpr const char* kSettings =
    "PRAGMA journal_mode = WAL;"
    "PRAGMA synchronous = FULL;"
    "PRAGMA journal_size_limit = 67108864;";

// Came later; a catalog of this version that lacks it gets it when it is opened.
constexpr const char* kWearSchema =
    "CREATE TABLE IF NOT EXISTS wear (device_id INTEGER PRIMARY KEY,"
    " bytes_written INTEGER NOT NULL, budget_left INTEGER NOT NULL,"
    " recorded_unix_s INTEGER NOT NULL);";
constexpr std::size_t kMaxWearRows = 65'536;  // every drive that the pool ever had

tl::unexpected<Error> Damaged(const char* how) {
  return Fail(
      Status::kCorrupt,
      fmt::format("{}: run `kvpool check --repair`, which says first what it would save and "
                  "what it would drop",
                  how));
}

class SqliteCatalog final : public Catalog {
 public:
  static Result<std::unique_ptr<Catalog>> Make(Database database) {
    auto catalog = std::unique_ptr<SqliteCatalog>(new SqliteCatalog(std::move(database)));
    const std::array<std::pair<Statement*, const char*>, 11> statements{{
        {&catalog->begin_, "BEGIN IMMEDIATE"},
        {&catalog->commit_, "COMMIT"},
        {&catalog->add_, "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)"},
        {&catalog->remove_, "DELETE FROM blocks WHERE generation = ?"},
        {&catalog->find_space_,
         "SELECT id FROM spaces WHERE model = ? AND dtype = ? AND layout = ? AND layer_group = ?"
         " AND rank = ? AND engine = ? AND tenant_salt = ? AND owner = ? AND layers = ?"},
        {&catalog->add_space_,
         "INSERT INTO spaces (model, dtype, layout, layer_group, rank, engine, tenant_salt, owner,"
         " layers, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
        {&catalog->forget_space_, "DELETE FROM spaces WHERE id = ?"},
        {&catalog->spaces_, kSelectSpaces},
        {&catalog->raise_, "UPDATE pool SET highest_generation = ?"},
        {&catalog->wear_,
         "SELECT device_id, bytes_written, budget_left, recorded_unix_s FROM wear"},
        {&catalog->record_wear_, "INSERT OR REPLACE INTO wear VALUES (?, ?, ?, ?)"},
    }};
    for (const auto& [statement, sql] : statements) {
      auto prepared = catalog->database_.Prepare(sql);
      if (!prepared) return tl::unexpected(prepared.error());
      *statement = std::move(*prepared);
    }
    auto highest = ReadHighest(catalog->database_);
    if (!highest) return tl::unexpected(highest.error());
    catalog->highest_ = *highest;
    if (auto read = catalog->ReadIds(); !read) return tl::unexpected(read.error());
    return catalog;
  }

  Result<std::uint32_t> SpaceId(const SpaceSpec& spec) override {
    if (spec.layers < 1 || spec.layers > kMaxLayers) {
      return Fail(Status::kInvalid, fmt::format("a space of {} layers cannot be recorded: give 1 "
                                                "to {}",
                                                spec.layers, kMaxLayers));
    }
    BindSpec(spec, find_space_);
    const auto found = find_space_.Step();
    const auto known = found && *found ? find_space_.Integer(0) : 0;
    find_space_.Reset();
    if (!found) return tl::unexpected(found.error());
    if (*found && known >= 1 && known <= kMaxSpaceId) return static_cast<std::uint32_t>(known);
    if (*found) return Damaged("a space has an id that the catalog never gives out");
    const std::uint32_t id = ids_.Next();
    if (id == 0) {
      return Fail(Status::kNoSpace,
                  fmt::format("{} spaces have blocks or are open, and a pool has no more: drop the "
                              "blocks of some, or close what has them open",
                              kMaxSpaceId));
    }
    BindSpec(spec, add_space_);
    const auto added = add_space_.Bind(kSpecParameters + 1, std::uint64_t{id}).Run();
    if (!added) return tl::unexpected(added.error());
    ids_.Take(id);
    return id;
  }

  Result<void> Forget(std::span<const std::uint32_t> spaces) override {
    if (spaces.empty()) return {};
    if (auto begun = begin_.Run(); !begun) return begun;
    for (const std::uint32_t id : spaces) {
      auto done = forget_space_.Bind(1, std::uint64_t{id}).Run();
      if (!done) return RollBack(std::move(done));
    }
    if (auto committed = commit_.Run(); !committed) return RollBack(std::move(committed));
    for (const std::uint32_t id : spaces) ids_.Free(id);
    return {};
  }

  Result<std::vector<std::pair<std::uint32_t, SpaceSpec>>> Spaces() override {
    std::vector<std::pair<std::uint32_t, SpaceSpec>> spaces;
    while (true) {
      const auto row = spaces_.Step();
      if (!row || !*row) {
        spaces_.Reset();
        if (!row) return tl::unexpected(row.error());
        return spaces;
      }
      std::pair<std::uint32_t, SpaceSpec> space;
      if (ReadSpace(spaces_, space.first, space.second)) spaces.push_back(std::move(space));
    }
  }

  Result<std::uint64_t> HighestGeneration() override {
    if (highest_ <= kMaxGeneration) return highest_;
    return Damaged("the catalog names a generation that no pool reaches");
  }

  Result<std::uint64_t> Load(const std::function<void(BlockRow&&)>& visit) override {
    const auto spaces = Spaces();
    if (!spaces) return tl::unexpected(spaces.error());
    std::set<std::uint32_t> known;
    for (const auto& [id, spec] : *spaces) known.insert(id);
    std::uint64_t skipped = 0;
    // Newest first is backwards in the file, where the kernel reads nothing ahead.
    database_.ReadAhead();
    // Stored as signed, the upper half of the generations is negative.
    for (const char* half : {"< 0", ">= 0"}) {
      auto blocks = database_.Prepare(
          fmt::format("{} WHERE generation {} ORDER BY generation DESC", kSelectBlocks, half)
              .c_str());
      if (!blocks) return tl::unexpected(blocks.error());
      if (auto read = ReadBlocks(*blocks, known, visit, skipped); !read) {
        return tl::unexpected(read.error());
      }
    }
    return skipped;
  }

  Result<void> Apply(std::span<const Change> changes) override {
    if (changes.empty()) return {};
    if (auto begun = begin_.Run(); !begun) return begun;
    std::uint64_t highest = highest_;
    for (const Change& change : changes) {
      if (auto done = ApplyOne(change); !done) return RollBack(std::move(done));
      highest = std::max(highest, change.row.generation);
    }
    if (highest > highest_) {
      if (auto raised = raise_.Bind(1, highest).Run(); !raised) return RollBack(std::move(raised));
    }
    if (auto committed = commit_.Run(); !committed) return RollBack(std::move(committed));
    highest_ = highest;
    return {};
  }

  Result<void> CheckThere() override {
    if (database_.IsThere()) return {};
    return Fail(Status::kNotFound,
                fmt::format("{}: the catalog was removed or replaced while its pool is open, so "
                            "nothing that is stored survives a restart: put it back, or close the "
                            "pool and run `kvpool check --repair`",
                            database_.path()));
  }

  Result<std::vector<WearRow>> Wear() override {
    std::vector<WearRow> rows;
    while (true) {
      const auto row = wear_.Step();
      if (!row || !*row || rows.size() > kMaxWearRows) {
        wear_.Reset();
        if (!row) return tl::unexpected(row.error());
        return rows;
      }
      bool good = true;
      for (int column = 0; column < 4; ++column) good &= wear_.IsInteger(column);
      if (!good) continue;
      rows.push_back({.device_id = wear_.Integer(0),
                      .bytes_written = wear_.Integer(1),
                      .budget_left = wear_.Integer(2),
                      .recorded_unix_s = static_cast<std::int64_t>(wear_.Integer(3))});
    }
  }

  Result<void> RecordWear(std::span<const WearRow> rows) override {
    if (rows.empty()) return {};
    if (auto begun = begin_.Run(); !begun) return begun;
    for (const WearRow& row : rows) {
      auto done = record_wear_.Bind(1, row.device_id)
                      .Bind(2, row.bytes_written)
                      .Bind(3, row.budget_left)
                      .Bind(4, static_cast<std::uint64_t>(row.recorded_unix_s))
                      .Run();
      if (!done) return RollBack(std::move(done));
    }
    if (auto committed = commit_.Run(); !committed) return RollBack(std::move(committed));
    return {};
  }

 private:
  explicit SqliteCatalog(Database database) : database_(std::move(database)) {}

  Result<void> ReadIds() {
    auto ids = database_.Prepare("SELECT id FROM spaces WHERE id >= 1 AND id <= ? ORDER BY id");
    if (!ids) return tl::unexpected(ids.error());
    ids->Bind(1, std::uint64_t{kMaxSpaceId});
    while (true) {
      const auto row = ids->Step();
      if (!row) return tl::unexpected(row.error());
      if (!*row) return {};
      ids_.Take(static_cast<std::uint32_t>(ids->Integer(0)));
    }
  }

  // Of what was ever applied and of the rows, should damage have lowered the first.
  static Result<std::uint64_t> ReadHighest(Database& database) {
    std::uint64_t highest = 0;
    for (const char* sql : {"SELECT highest_generation FROM pool",
                            "SELECT generation FROM blocks ORDER BY generation DESC LIMIT 1",
                            "SELECT generation FROM blocks WHERE generation < 0"
                            " ORDER BY generation DESC LIMIT 1"}) {
      const auto number = database.Number(sql);
      if (!number) return tl::unexpected(number.error());
      highest = std::max(highest, *number);
    }
    return highest;
  }

  Result<void> ReadBlocks(Statement& blocks, const std::set<std::uint32_t>& known,
                          const std::function<void(BlockRow&&)>& visit, std::uint64_t& skipped) {
    std::optional<std::uint64_t> before;
    while (true) {
      const auto row = blocks.Step();
      if (!row) return tl::unexpected(row.error());
      if (!*row) return {};
      BlockRow block;
      // In a damaged file the rows may be out of order.
      const bool good = ReadBlock(blocks, block) && known.contains(block.space) &&
                        (!before || block.generation < *before);
      if (!good) {
        ++skipped;
        // It stays, and would be a block of whatever space got that id.
        if (block.space >= 1 && block.space <= kMaxSpaceId) ids_.Take(block.space);
        continue;
      }
      before = block.generation;
      visit(std::move(block));
    }
  }

  Result<void> ApplyOne(const Change& change) {
    const BlockRow& row = change.row;
    if (change.kind == Change::Kind::kRemove) return remove_.Bind(1, row.generation).Run();
    KVPOOL_CHECK(!row.key.empty() && row.key.size() <= kMaxKeyBytes);
    KVPOOL_CHECK(row.parent.size() <= kMaxKeyBytes);
    EncodeUnits(row.units, blob_);
    return add_.Bind(1, row.generation)
        .Bind(2, std::uint64_t{row.space})
        .Bind(3, std::string_view(row.key))
        .Bind(4, row.block_bytes)
        .Bind(5, row.ordinal)
        .Bind(6, std::string_view(row.parent))
        .Bind(7, std::span<const std::byte>(blob_))
        .Run();
  }

  Result<void> RollBack(Result<void> failure) {
    // Some failures have ended the transaction already; then there is nothing to roll back.
    [[maybe_unused]] const auto rolled_back = database_.Execute("ROLLBACK");
    return failure;
  }

  Database database_;
  Statement begin_, commit_, add_, remove_, find_space_, add_space_, forget_space_, spaces_, raise_,
      wear_, record_wear_;
  SpaceIds ids_;
  std::uint64_t highest_ = 0;
  std::vector<std::byte> blob_;
};

Result<void> WriteNew(const std::filesystem::path& path, std::uint64_t pool_id) {
  auto database = Database::Open(path, true);
  if (!database) return tl::unexpected(database.error());
  if (auto cautious = database->Execute(kCautions); !cautious) return cautious;
  if (auto set = database->Execute(kSettings); !set) return set;
  if (auto made = database->Execute(Schema().c_str()); !made) return made;
  if (auto made = database->Execute(kWearSchema); !made) return made;
  auto insert = database->Prepare("INSERT INTO pool VALUES (?, 0)");
  if (!insert) return tl::unexpected(insert.error());
  if (auto done = insert->Bind(1, pool_id).Run(); !done) return done;
  return database->Execute("COMMIT");
}

// The pool whose catalog it is.
Result<std::uint64_t> OwnerOf(Database& database, const std::string& path) {
  const auto application = database.Number("PRAGMA application_id");
  if (!application) return tl::unexpected(application.error());
  if (*application != kApplicationId) {
    return Fail(Status::kInvalid,
                fmt::format("{}: this is not a catalog of kvpool: name another file, or run "
                            "`kvpool check --repair` if it was one",
                            path));
  }
  const auto version = database.Number("PRAGMA user_version");
  if (!version) return tl::unexpected(version.error());
  if (*version != kVersion && *version != kFormerVersion) {
    return Fail(Status::kInvalid,
                fmt::format("{}: written for version {} of the catalog and this kvpool reads "
                            "version {}: use the kvpool that wrote it, or make a new one with "
                            "`kvpool check --repair`; what was stored goes with the old one",
                            path, *version, kVersion));
  }
  return database.Number("SELECT pool_id FROM pool");
}

Result<void> CheckIdentity(Database& database, const std::string& path, std::uint64_t pool_id) {
  const auto owner = OwnerOf(database, path);
  if (!owner) return tl::unexpected(owner.error());
  if (*owner != pool_id) {
    return Fail(Status::kInvalid,
                fmt::format("{}: this is the catalog of another pool ({:016x}, not {:016x}): name "
                            "the one made with these devices",
                            path, *owner, pool_id));
  }
  return {};
}

}  // namespace

Result<void> Catalog::Create(const std::filesystem::path& path, std::uint64_t pool_id) {
  if (auto vacant = CheckVacant(path); !vacant) return vacant;
  Unfinished unfinished(path);
  if (auto made = unfinished.Make(); !made) return made;
  if (auto written = WriteNew(unfinished.path(), pool_id); !written) return written;
  if (auto published = unfinished.Publish(); !published) return published;
  unfinished.Keep();
  return {};
}

Result<std::uint64_t> Catalog::PoolIdOf(const std::filesystem::path& path) {
  auto database = Database::Open(path, false);
  if (!database) return tl::unexpected(database.error());
  if (auto cautious = database->Execute(kCautions); !cautious) {
    return tl::unexpected(cautious.error());
  }
  return OwnerOf(*database, path.string());
}

Result<std::unique_ptr<Catalog>> Catalog::Open(const std::filesystem::path& path,
                                               std::uint64_t pool_id) {
  auto database = Database::Open(path, false);
  if (!database) return tl::unexpected(database.error());
  if (auto cautious = database->Execute(kCautions); !cautious) {
    return tl::unexpected(cautious.error());
  }
  if (auto known = CheckIdentity(*database, path.string(), pool_id); !known) {
    return tl::unexpected(known.error());
  }
  if (auto set = database->Execute(kSettings); !set) return tl::unexpected(set.error());
  const auto version = database->Number("PRAGMA user_version");
  if (!version) return tl::unexpected(version.error());
  // Needs to write in any case, also where the table is there already.
  const std::string bring_up = fmt::format("BEGIN IMMEDIATE; {} {} COMMIT", kWearSchema,
                                           *version == kFormerVersion ? Upgrade() : "");
  if (auto writable = database->Execute(bring_up.c_str()); !writable) {
    return tl::unexpected(writable.error());
  }
  return SqliteCatalog::Make(std::move(*database));
}

}  // namespace kvpool::catalog
