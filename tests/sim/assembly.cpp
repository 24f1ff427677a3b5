#include "tests/sim/assembly.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/limits.h"
#include "device/absent.h"

namespace kvpool::sim {
namespace {

constexpr std::uint64_t kPoolId = 7;
constexpr std::size_t kMostStaging = 256 << 20;

// The staging of all lanes of one pool after the other. Address space; pages come when touched.
std::byte* Staging() {
  static auto* memory = static_cast<std::byte*>(std::aligned_alloc(kIoAlignment, kMostStaging));
  return memory;
}

}  // namespace

Assembly::Assembly(World& world, const Scenario& scenario, Rack& rack, Dormant& dormant)
    : world_(world),
      scenario_(scenario),
      rack_(rack),
      dormant_(dormant),
      detacher_(rack, scenario.others_stay) {
  if (!scenario_.real_catalog || !scenario_.catalog) return;
  std::string name = (std::filesystem::temp_directory_path() / "kvpool-sim-XXXXXX").string();
  KVPOOL_CHECK(::mkdtemp(name.data()) != nullptr);
  folder_ = name;
  KVPOOL_CHECK(catalog::Catalog::Create(folder_ / "catalog", kPoolId).has_value());
}

Assembly::~Assembly() {
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

std::unique_ptr<pool::PoolImpl> Assembly::Open(pool::MakeDrive make_drive) {
  pool::PoolParts parts{.config = scenario_.config, .clock = &world_.clock, .threads = false};
  AddDrives(parts);
  LowerQuotas(parts.config);
  parts.catalog = OpenCatalog();
  if (parts.catalog) LookAtRows(*parts.catalog);
  parts.make_drive = std::move(make_drive);
  parts.detacher = &detacher_;
  staging_given_ = 0;
  parts.staging = [this] { return GiveStaging(); };
  parts.log = [this](const LogEvent&) { world_.Note("the pool says something"); };
  auto pool = pool::PoolImpl::Open(std::move(parts));
  KVPOOL_CHECK(pool.has_value());
  return std::move(*pool);
}

void Assembly::AddDrives(pool::PoolParts& parts) const {
  for (std::size_t i = 0; i < rack_.size(); ++i) {
    parts.config.devices[i] = rack_.config(i);
    parts.devices.push_back({rack_.config(i), nullptr});
    if (rack_.away(i)) {
      parts.devices.back().device = device::MakeAbsent(rack_.config(i), "made up");
      parts.devices.back().absent = "it is away: bring it back";
    } else {
      parts.devices.back().device = rack_.drive(i).Open();
    }
  }
}

// A pool file may say less than the last pool's did.
void Assembly::LowerQuotas(Config& config) const {
  for (TenantConfig& tenant : config.tenants) {
    if (!tenant.quota_bytes || !world_.random.Chance(0.3)) continue;
    tenant.quota_bytes = std::max(kSlabBytes, *tenant.quota_bytes / 2);
  }
}

std::unique_ptr<catalog::Catalog> Assembly::OpenCatalog() {
  if (!scenario_.catalog) return nullptr;
  std::unique_ptr<catalog::Catalog> inner;
  if (folder_.empty()) {
    inner = MakeMemoryCatalog(catalog_state_);
  } else {
    auto opened = catalog::Catalog::Open(folder_ / "catalog", kPoolId);
    KVPOOL_CHECK(opened.has_value());
    inner = std::move(*opened);
  }
  return MakeSimCatalog(world_, std::move(inner), scenario_.catalog_error);
}

void Assembly::LookAtRows(catalog::Catalog& catalog) {
  std::vector<std::uint32_t> space_ids;
  for (const SpaceSpec& spec : scenario_.spaces) space_ids.push_back(catalog.SpaceId(spec).value());
  std::vector<catalog::BlockRow> rows;
  const auto skipped =
      catalog.Load([&](catalog::BlockRow&& row) { rows.push_back(std::move(row)); });
  KVPOOL_CHECK(skipped.has_value());
  dormant_.Look(rows, space_ids);
}

std::span<std::byte> Assembly::GiveStaging() {
  const std::size_t bytes = std::size_t{scenario_.staging_buffers} * kMaxUnitBytes;
  KVPOOL_CHECK(staging_given_ + bytes <= kMostStaging);
  staging_given_ += bytes;
  return std::span(Staging() + staging_given_ - bytes, bytes);
}

}  // namespace kvpool::sim
