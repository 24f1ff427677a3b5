#include "pool/repair.h"

#include <fmt/format.h>

#include <algorithm>

#include "pool/find_drives.h"

namespace kvpool::pool {
namespace {

bool KeepsCatalog(const Config& config) {
  return !config.catalog.empty() &&
         std::any_of(config.devices.begin(), config.devices.end(),
                     [](const DeviceConfig& one) { return one.kind != DeviceKind::kMemory; });
}

std::string Consequence(const Config& config, const catalog::Salvaged& kept) {
  const std::string all = "every block of this pool is dropped, its drives become empty";
  const std::string some = fmt::format(
      "{} blocks that can still be read of it are kept, and dropped later where their bytes do not "
      "verify; all others are dropped",
      kept.rows.size());
  return fmt::format(
      "a repair makes a new catalog: {}; the old one, if there is any, stays as "
      "{}.broken",
      kept.rows.empty() ? all : some, config.catalog.string());
}

}  // namespace

Result<RepairPlan> PlanRepair(const Config& config) {
  RepairPlan plan;
  if (!KeepsCatalog(config)) return plan;
  // Whose the catalog should be, the drives say.
  const auto drives = FindDrives(config, 0);
  if (!drives) return tl::unexpected(drives.error());
  plan.pool_id = drives->pool_id;
  const catalog::Finding finding = catalog::Examine(config.catalog, plan.pool_id);
  if (finding.good) return plan;
  if (!finding.repairable) return Fail(Status::kInvalid, finding.sentence);
  plan.needed = true;
  plan.kept = catalog::Salvage(config.catalog);
  plan.sentence = fmt::format("{}\n{}", finding.sentence, Consequence(config, plan.kept));
  return plan;
}

Result<void> Repair(const Config& config, const RepairPlan& plan) {
  const auto aside = catalog::PutAside(config.catalog);
  if (!aside && aside.error().status != Status::kNotFound) return tl::unexpected(aside.error());
  return catalog::Rebuild(config.catalog, plan.pool_id, plan.kept);
}

}  // namespace kvpool::pool
