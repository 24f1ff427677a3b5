#include <algorithm>

#include "pool/pool_impl.h"

namespace kvpool::pool {

std::vector<std::vector<std::size_t>> AssignLanes(std::span<const bool> mapped,
                                                  std::uint32_t wanted_lanes,
                                                  std::uint32_t processors) {
  constexpr std::uint32_t kCopyLanes = 4;  // saturate a memory node's link to one destination
  std::vector<std::size_t> memories;
  std::vector<std::size_t> drives;
  for (std::size_t i = 0; i < mapped.size(); ++i) (mapped[i] ? memories : drives).push_back(i);

  const std::uint32_t most_copy = memories.empty() ? 0 : std::clamp(processors / 2, 1u, kCopyLanes);
  const auto most_drive = static_cast<std::uint32_t>(drives.size());
  std::uint32_t lanes =
      wanted_lanes != 0 ? wanted_lanes : std::min(std::max(processors, 1u), most_copy + most_drive);
  lanes = std::max(lanes, 1u);
  std::uint32_t copy = std::min(most_copy, lanes);
  if (!drives.empty() && copy == lanes && lanes > 1) --copy;
  const std::uint32_t drive_lanes = std::min(std::max(lanes - copy, 1u), most_drive);
  lanes = std::max({1u, std::min(lanes, copy + drive_lanes), copy});

  std::vector<std::vector<std::size_t>> assigned(lanes);
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

}  // namespace kvpool::pool
