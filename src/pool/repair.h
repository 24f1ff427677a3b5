// Repair: a catalog that a pool cannot open with, made anew from what is left of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "catalog/salvage.h"
#include "kvpool/config.h"
#include "kvpool/result.h"

namespace kvpool::pool {

struct RepairPlan {
  bool needed = false;   // else the catalog is good
  std::string sentence;  // what is wrong, and what would be kept and dropped
  std::uint64_t pool_id = 0;
  catalog::Salvaged kept;
};

// Looks and changes nothing. The error says what no repair can mend: drives that are missing or of
// two pools, a catalog that another pool owns or has open.
Result<RepairPlan> PlanRepair(const Config& config);

// Puts the old catalog aside and makes the new one. Nobody may open the pool meanwhile.
Result<void> Repair(const Config& config, const RepairPlan& plan);

}  // namespace kvpool::pool
