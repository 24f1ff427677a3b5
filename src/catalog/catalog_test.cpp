#include "catalog/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <fstream>

#include "catalog/testing.h"

namespace kvpool::catalog {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<Catalog> MustOpen(const std::filesystem::path& path) {
  auto catalog = Catalog::Open(path, kPoolId);
  EXPECT_TRUE(catalog) << catalog.error().message;
  return catalog ? std::move(*catalog) : nullptr;
}

std::unique_ptr<Catalog> MustMake(const std::filesystem::path& path) {
  const auto made = Catalog::Create(path, kPoolId);
  EXPECT_TRUE(made) << made.error().message;
  return MustOpen(path);
}

// Runs SQL on a closed catalog, as damage or another version would.
void Tamper(const std::filesystem::path& path, const char* sql) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, sql, nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(database);
  sqlite3_close(database);
}

TEST(Catalog, SpacesThatDifferInAnyFieldDiffer) {
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

TEST(Catalog, LeavesOutSpacesThatBreakALimitAndCountsTheirBlocks) {
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

TEST(Catalog, RecordsNoSpaceThatItWouldLeaveOut) {
  TestFolder folder;
  auto catalog = MustMake(folder / "catalog");
  EXPECT_EQ(catalog->SpaceId({.layers = 0}).error().status, Status::kInvalid);
  EXPECT_EQ(catalog->SpaceId({.layers = 1025}).error().status, Status::kInvalid);
  EXPECT_TRUE(catalog->SpaceId({.layers = 1024}));
  EXPECT_EQ(catalog->Spaces().value().size(), 1u);
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

// Runs `what` in a process of its own, which it may cripple.
template <class What>
bool HoldsInAChild(What what) {
  const pid_t child = fork();
  if (child == 0) _exit(what() ? 0 : 1);
  int status = -1;
  return waitpid(child, &status, 0) == child && status == 0;
}

// The names and lengths of what is in a folder.
std::map<std::string, std::uintmax_t> FilesIn(const TestFolder& folder) {
  std::map<std::string, std::uintmax_t> files;
  for (const auto& file : std::filesystem::directory_iterator(folder.path())) {
    files[file.path().filename()] = file.is_regular_file() ? file.file_size() : 0;
  }
  return files;
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

TEST(Catalog, CreateLeavesAFileThatIsThereAlone) {
  for (const char* name : {"catalog", "catalog-wal", "catalog-shm", "catalog-journal"}) {
    TestFolder folder;
    std::ofstream(folder / name) << "precious";
    const auto made = Catalog::Create(folder / "catalog", kPoolId);
    ASSERT_FALSE(made) << name;
    EXPECT_EQ(made.error().status, Status::kExists);
    EXPECT_THAT(made.error().message, HasSubstr("there already"));
    EXPECT_THAT(made.error().message, HasSubstr(name));
    EXPECT_EQ(FilesIn(folder), (std::map<std::string, std::uintmax_t>{{name, 8}}));
  }
}

TEST(Catalog, CreateDoesNotFollowALinkToNothing) {
  TestFolder folder;
  std::filesystem::create_symlink(folder / "elsewhere", folder / "catalog");
  EXPECT_EQ(Catalog::Create(folder / "catalog", kPoolId).error().status, Status::kExists);
  EXPECT_EQ(FilesIn(folder).size(), 1u);
}

TEST(Catalog, CreateLeavesNothingBehindWhereItFails) {
  TestFolder folder;
  const auto made = Catalog::Create(folder / "absent/catalog", kPoolId);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().status, Status::kInvalid);
  EXPECT_THAT(made.error().message, HasSubstr("check that its folder is there"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

// A folder that cannot be read cannot be made durable, which shows after the catalog has its name.
TEST(Catalog, CreateLeavesNothingBehindWhereItFailsLate) {
  TestFolder folder;
  std::filesystem::permissions(folder.path(), std::filesystem::perms(0333));
  EXPECT_TRUE(HoldsInAChild([&] {
    if (geteuid() == 0 && (setegid(65534) != 0 || seteuid(65534) != 0)) return false;
    const auto made = Catalog::Create(folder / "catalog", kPoolId);
    return !made && made.error().message.find("permissions") != std::string::npos;
  }));
  std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Catalog, CreateIsOneFileAndTouchesNoOther) {
  TestFolder folder;
  std::ofstream(folder / "catalog.new") << "precious";
  std::ofstream(folder / "catalog.new-wal") << "precious, too";
  ASSERT_TRUE(Catalog::Create(folder / "catalog", kPoolId));
  auto files = FilesIn(folder);
  EXPECT_EQ(files.erase("catalog"), 1u);
  EXPECT_EQ(files,
            (std::map<std::string, std::uintmax_t>{{"catalog.new", 8}, {"catalog.new-wal", 13}}));
}

TEST(Catalog, TooFewDescriptorsAreNamed) {
  TestFolder folder;
  MustMake(folder / "catalog");
  EXPECT_TRUE(HoldsInAChild([&] {
    const rlimit none{3, 3};
    if (setrlimit(RLIMIT_NOFILE, &none) != 0) return false;
    const auto opened = Catalog::Open(folder / "catalog", kPoolId);
    const auto made = Catalog::Create(folder / "another", kPoolId);
    return !opened && opened.error().message.find("ulimit -n") != std::string::npos && !made &&
           made.error().message.find("ulimit -n") != std::string::npos;
  }));
  EXPECT_EQ(FilesIn(folder).size(), 1u);
}

TEST(Catalog, MissingPermissionsAreNamed) {
  TestFolder folder;
  MustMake(folder / "catalog");
  std::filesystem::permissions(folder / "catalog", std::filesystem::perms::none);
  const auto refused = [&] {
    if (geteuid() == 0 && (setegid(65534) != 0 || seteuid(65534) != 0)) return false;
    const auto opened = Catalog::Open(folder / "catalog", kPoolId);
    return !opened && opened.error().status == Status::kInvalid &&
           opened.error().message.find("permissions") != std::string::npos;
  };
  EXPECT_TRUE(HoldsInAChild(refused)) << "of the folder";
  std::filesystem::permissions(folder.path(), std::filesystem::perms::all);
  EXPECT_TRUE(HoldsInAChild(refused)) << "of the file";
}

TEST(Catalog, OpenSaysWhatIsWrongAndWhatToDo) {
  TestFolder folder;
  const auto complaint = [&](std::uint64_t pool_id) {
    const auto catalog = Catalog::Open(folder / "catalog", pool_id);
    return catalog ? Error{Status::kOk, 0, ""} : catalog.error();
  };
  EXPECT_EQ(complaint(kPoolId).status, Status::kNotFound);
  EXPECT_THAT(complaint(kPoolId).message, HasSubstr("kvpool create"));
  MustMake(folder / "catalog");
  EXPECT_EQ(complaint(kPoolId + 1).status, Status::kInvalid);
  EXPECT_THAT(complaint(kPoolId + 1).message, HasSubstr("the catalog of another pool"));
  EXPECT_EQ(complaint(kPoolId).status, Status::kOk);
  Tamper(folder / "catalog", "PRAGMA user_version = 9");
  EXPECT_EQ(complaint(kPoolId).status, Status::kInvalid);
  EXPECT_THAT(complaint(kPoolId).message, HasSubstr("version 9"));
  Tamper(folder / "catalog", "PRAGMA application_id = 5");
  EXPECT_EQ(complaint(kPoolId).status, Status::kInvalid);
  EXPECT_THAT(complaint(kPoolId).message, HasSubstr("not a catalog"));
}

TEST(Catalog, ASecondProcessIsToldToWait) {
  TestFolder folder;
  auto catalog = MustMake(folder / "catalog");
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto second = Catalog::Open(folder / "catalog", kPoolId);
    _exit(!second && second.error().status == Status::kBusy ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace kvpool::catalog
