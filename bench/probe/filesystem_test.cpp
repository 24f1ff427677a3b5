#include "bench/probe/filesystem.h"

#include <gtest/gtest.h>

namespace kvpool::probe {
namespace {

TEST(FilesystemOf, NamesTheFilesystemOfAFolder) {
  const auto found = FilesystemOf(testing::TempDir());
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->type.empty());
  EXPECT_GT(found->free_bytes, 0u);
}

TEST(FilesystemOf, AFolderThatIsNotThereIsAnError) {
  const auto found = FilesystemOf(testing::TempDir() + "/absent");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().status, Status::kInvalid);
}

}  // namespace
}  // namespace kvpool::probe
