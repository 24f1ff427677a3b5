#include "index/second_sight.h"

#include <gtest/gtest.h>

namespace kvpool::index {
namespace {

TEST(SecondSight, AdmitsWhatItRemembers) {
  SecondSight sight(100);
  EXPECT_FALSE(sight.Admit(7));
  EXPECT_FALSE(sight.Admit(8));
  EXPECT_TRUE(sight.Admit(7));
  EXPECT_TRUE(sight.Admit(7)) << "also after it was stored and evicted";
}

TEST(SecondSight, ForgetsTheOldestFirst) {
  SecondSight sight(100);
  for (std::uint64_t hash = 1; hash <= 100; ++hash) EXPECT_FALSE(sight.Admit(hash));
  EXPECT_TRUE(sight.Admit(1));  // and is the newest now
  EXPECT_FALSE(sight.Admit(101));
  EXPECT_FALSE(sight.Admit(2)) << "the oldest had to go for 101";
  EXPECT_TRUE(sight.Admit(1));
}

}  // namespace
}  // namespace kvpool::index
