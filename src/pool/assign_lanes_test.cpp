#include <gtest/gtest.h>

#include <array>

#include "pool/pool_impl.h"

namespace kvpool::pool {
namespace {

using Assigned = std::vector<std::vector<std::size_t>>;

TEST(AssignLanes, TwoProcessorsGiveMemoryOneAndDrivesTheOther) {
  const std::array mapped{true, false, false, false};
  EXPECT_EQ(AssignLanes(mapped, 0, 2), (Assigned{{0}, {1, 2, 3}}));
}

TEST(AssignLanes, OneProcessorServesEverything) {
  const std::array mapped{true, false, false};
  EXPECT_EQ(AssignLanes(mapped, 0, 1), (Assigned{{0, 1, 2}}));
}

TEST(AssignLanes, ManyProcessorsCopyWithSeveralLanesAndGiveEachDriveOne) {
  const std::array mapped{true, false, false};
  EXPECT_EQ(AssignLanes(mapped, 0, 16), (Assigned{{0}, {0}, {0}, {0}, {1}, {2}}));
}

TEST(AssignLanes, EveryDeviceIsServedWhateverIsAsked) {
  for (std::uint32_t wanted = 0; wanted < 10; ++wanted) {
    for (std::uint32_t processors = 1; processors < 20; ++processors) {
      for (std::uint32_t kinds = 1; kinds < 32; ++kinds) {
        std::array<bool, 5> mapped{};
        for (std::uint32_t i = 0; i < 5; ++i) mapped[i] = (kinds >> i & 1) != 0;
        std::array<int, 5> served{};
        for (const auto& lane : AssignLanes(mapped, wanted, processors)) {
          EXPECT_FALSE(lane.empty());
          for (const std::size_t device : lane) ++served[device];
        }
        for (std::size_t i = 0; i < 5; ++i) {
          EXPECT_GE(served[i], 1);
          if (!mapped[i]) {
            EXPECT_EQ(served[i], 1);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace kvpool::pool
