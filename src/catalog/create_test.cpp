// Making a catalog and opening it: whole or not at all, and with a sentence where it cannot be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <fstream>

#include "catalog/catalog.h"
#include "catalog/testing.h"

namespace kvpool::catalog {
namespace {

using ::testing::HasSubstr;

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
