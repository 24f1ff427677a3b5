// What a crash leaves is what some number of whole Applies made, and none that returned is missing.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "catalog/catalog.h"
#include "catalog/testing.h"

namespace kvpool::catalog {
namespace {

// Applies batch after batch and tells the parent of each, until it is killed.
[[noreturn]] void ApplyForEver(const std::filesystem::path& path, std::uint64_t seed, int tell) {
  auto catalog = Catalog::Open(path, kPoolId);
  if (!catalog) _exit(1);
  for (std::uint64_t n = 0;; ++n) {
    if (!(*catalog)->Apply(MakeBatch(seed, n))) _exit(2);
    if (write(tell, "x", 1) != 1) _exit(3);
  }
}

// Lets a child apply at least `least` batches of `seed`, kills it, and returns how many it told of.
std::uint64_t ApplyAndKill(const std::filesystem::path& path, std::uint64_t seed,
                           std::uint64_t least) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    ApplyForEver(path, seed, ends[1]);
  }
  close(ends[1]);
  std::uint64_t told = 0;
  char byte = 0;
  while (told < least && read(ends[0], &byte, 1) == 1) ++told;
  kill(child, SIGKILL);
  while (read(ends[0], &byte, 1) == 1) ++told;
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the child ended by itself: " << WEXITSTATUS(status);
  return told;
}

TEST(CatalogCrash, NoApplyThatReturnedIsLostAndNoneIsHalfThere) {
  std::mt19937_64 random(7);
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(seed);
    TestFolder folder;
    ASSERT_TRUE(Catalog::Create(folder / "catalog", kPoolId));
    ASSERT_TRUE(Catalog::Open(folder / "catalog", kPoolId).value()->SpaceId({.model = "m"}));
    const std::uint64_t told = ApplyAndKill(folder / "catalog", seed, 1 + random() % 60);
    Model model;
    for (std::uint64_t n = 0; n < told; ++n) ApplyTo(model, MakeBatch(seed, n));
    Model one_more = model;
    ApplyTo(one_more, MakeBatch(seed, told));
    auto catalog = Catalog::Open(folder / "catalog", kPoolId);
    ASSERT_TRUE(catalog) << catalog.error().message;
    const Model found = ModelOf(**catalog).value();
    EXPECT_TRUE(found == model || found == one_more) << "after " << told << " batches";
  }
}

// A power cut may lose the end of the write-ahead log.
TEST(CatalogCrash, ATornLogGivesBackWholeApplies) {
  constexpr std::uint64_t kSeed = 99;
  TestFolder folder;
  ASSERT_TRUE(Catalog::Create(folder / "catalog", kPoolId));
  auto catalog = Catalog::Open(folder / "catalog", kPoolId).value();
  ASSERT_TRUE(catalog->SpaceId({.model = "m"}));
  std::vector<Model> history{{}};
  for (std::uint64_t n = 0; n < 40; ++n) {
    const auto changes = MakeBatch(kSeed, n);
    ASSERT_TRUE(catalog->Apply(changes));
    history.push_back(history.back());
    ApplyTo(history.back(), changes);
  }
  const auto log_bytes = std::filesystem::file_size(folder / "catalog-wal");
  std::mt19937_64 random(3);
  std::size_t shortened = 0;
  for (int i = 0; i < 25; ++i) {
    constexpr auto kReplace = std::filesystem::copy_options::overwrite_existing;
    std::filesystem::copy_file(folder / "catalog", folder / "copy", kReplace);
    std::filesystem::copy_file(folder / "catalog-wal", folder / "copy-wal", kReplace);
    std::filesystem::resize_file(folder / "copy-wal", random() % log_bytes);
    auto copy = Catalog::Open(folder / "copy", kPoolId);
    ASSERT_TRUE(copy) << copy.error().message;
    const Model found = ModelOf(**copy).value();
    // Before the space was recorded its rows cannot be there either.
    EXPECT_NE(std::find(history.begin(), history.end(), found), history.end());
    shortened += found != history.back() ? 1 : 0;
  }
  EXPECT_GT(shortened, 0u);
}

}  // namespace
}  // namespace kvpool::catalog
