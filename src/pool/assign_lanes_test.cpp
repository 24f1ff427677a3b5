#include <gtest/gtest.h>

#include <array>

#include "pool/pool_impl.h"

namespace kvpool::pool {
namespace {

constexpr LaneNeed kMemory{.mapped = true};
constexpr LaneNeed kDrive{};
constexpr LaneNeed kPolled{.polled = true};

using Assigned = std::vector<std::vector<std::size_t>>;

TEST(AssignLanes, TwoProcessorsGiveMemoryOneAndDrivesTheOther) {
  const std::array mapped{kMemory, kDrive, kDrive, kDrive};
  EXPECT_EQ(AssignLanes(mapped, 0, 2), (Assigned{{0}, {1, 2, 3}}));
}

TEST(AssignLanes, OneProcessorServesEverything) {
  const std::array mapped{kMemory, kDrive, kDrive};
  EXPECT_EQ(AssignLanes(mapped, 0, 1), (Assigned{{0, 1, 2}}));
}

TEST(AssignLanes, ManyProcessorsCopyWithSeveralLanesAndGiveEachDriveOne) {
  const std::array mapped{kMemory, kDrive, kDrive};
  EXPECT_EQ(AssignLanes(mapped, 0, 16), (Assigned{{0}, {0}, {0}, {0}, {1}, {2}}));
}

TEST(AssignLanes, PolledDrivesShareALaneThatNothingElseWaitsFor) {
  const std::array devices{kMemory, kPolled, kPolled, kDrive};
  EXPECT_EQ(AssignLanes(devices, 0, 2), (Assigned{{0, 3}, {1, 2}}));
  EXPECT_EQ(AssignLanes(devices, 0, 1), (Assigned{{0, 3, 1, 2}}));
  EXPECT_EQ(AssignLanes(devices, 0, 8), (Assigned{{0}, {0}, {0}, {3}, {1}, {2}}));
  const std::array only{kPolled, kPolled};
  EXPECT_EQ(AssignLanes(only, 0, 2), (Assigned{{0, 1}}));
}

TEST(AssignLanes, EveryDeviceIsServedWhateverIsAsked) {
  for (std::uint32_t wanted = 0; wanted < 10; ++wanted) {
    for (std::uint32_t processors = 1; processors < 20; ++processors) {
      for (std::uint32_t kinds = 0; kinds < 243; ++kinds) {
        std::array<LaneNeed, 5> devices{};
        for (std::uint32_t i = 0, rest = kinds; i < 5; ++i, rest /= 3) {
          devices[i] = std::array{kMemory, kDrive, kPolled}[rest % 3];
        }
        std::array<int, 5> served{};
        for (const auto& lane : AssignLanes(devices, wanted, processors)) {
          EXPECT_FALSE(lane.empty());
          for (const std::size_t device : lane) ++served[device];
        }
        for (std::size_t i = 0; i < 5; ++i) {
          EXPECT_GE(served[i], 1);
          if (!devices[i].mapped) {
            EXPECT_EQ(served[i], 1);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace kvpool::pool
