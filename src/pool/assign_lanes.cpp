#include <algorithm>

#include "pool/pool_impl.h"

namespace kvpool::pool {

namespace {

using Devices = std::vector<std::size_t>;
using Assigned = std::vector<Devices>;

constexpr std::uint32_t kCopyLanes = 4;  // saturate a memory node's link to one destination

// Lanes that sleep: memory on several, each drive on one.
Assigned AssignSleeping(const Devices& memories, const Devices& drives, std::uint32_t wanted_lanes,
                        std::uint32_t processors) {
  const std::uint32_t most_copy = memories.empty() ? 0 : std::clamp(processors / 2, 1u, kCopyLanes);
  const auto most_drive = static_cast<std::uint32_t>(drives.size());
  std::uint32_t lanes =
      wanted_lanes != 0 ? wanted_lanes : std::min(std::max(processors, 1u), most_copy + most_drive);
  lanes = std::max(lanes, 1u);
  std::uint32_t copy = std::min(most_copy, lanes);
  if (!drives.empty() && copy == lanes && lanes > 1) --copy;
  const std::uint32_t drive_lanes = std::min(std::max(lanes - copy, 1u), most_drive);
  lanes = std::max({1u, std::min(lanes, copy + drive_lanes), copy});

  Assigned assigned(lanes);
  for (const std::size_t memory : memories) {
    for (std::uint32_t lane = 0; lane < std::max(copy, 1u); ++lane) {
      assigned[lane].push_back(memory);
    }
  }
  for (std::size_t i = 0; i < drives.size(); ++i) {
    // With a single lane everything shares it.
    const std::size_t lane = lanes == copy ? i % lanes : copy + i % (lanes - copy);
    assigned[lane].push_back(drives[i]);
  }
  return assigned;
}

}  // namespace

std::vector<std::vector<std::size_t>> AssignLanes(std::span<const LaneNeed> devices,
                                                  std::uint32_t wanted_lanes,
                                                  std::uint32_t processors) {
  Devices memories;
  Devices drives;
  Devices polled;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    (devices[i].mapped ? memories : devices[i].polled ? polled : drives).push_back(i);
  }
  const bool sleeping = !memories.empty() || !drives.empty();
  const std::uint32_t lanes = wanted_lanes != 0 ? wanted_lanes : std::max(processors, 1u);
  // One thread polls many drives; each further one takes a processor from everybody else.
  auto spinning = static_cast<std::uint32_t>(
      std::min<std::size_t>(polled.size(), std::max(processors / 4, 1u)));
  if (spinning >= lanes) spinning = lanes - (sleeping ? 1 : 0);
  if (spinning == 0) {
    drives.insert(drives.end(), polled.begin(), polled.end());
    return AssignSleeping(memories, drives, wanted_lanes, processors);
  }
  Assigned assigned;
  if (sleeping) {
    assigned = AssignSleeping(memories, drives, wanted_lanes == 0 ? 0 : wanted_lanes - spinning,
                              std::max(processors, spinning + 1) - spinning);
  }
  const std::size_t first = assigned.size();
  assigned.resize(first + spinning);
  for (std::size_t i = 0; i < polled.size(); ++i) {
    assigned[first + i % spinning].push_back(polled[i]);
  }
  return assigned;
}

}  // namespace kvpool::pool
