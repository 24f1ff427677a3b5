#include "tests/sim/quotas.h"

#include <algorithm>

namespace kvpool::sim {

void Quotas::Begin(const pool::PoolImpl& pool) {
  most_bytes_.clear();
  for (const TenantInfo& tenant : pool.tenant_info()) {
    const std::uint64_t quota = tenant.quota_bytes == 0 ? ~std::uint64_t{0} : tenant.quota_bytes;
    most_bytes_.push_back(std::max(quota, tenant.used_bytes));
  }
}

void Quotas::Look(const pool::PoolImpl& pool, World& world) {
  if (most_bytes_.empty()) return;
  const auto tenants = pool.tenant_info();
  for (std::size_t i = 0; i < tenants.size(); ++i) {
    const TenantInfo& tenant = tenants[i];
    if (tenant.used_bytes > most_bytes_[i]) {
      world.Fail(Failure::kOther, fmt::format("tenant {} holds {} bytes and may hold {}",
                                              tenant.name, tenant.used_bytes, most_bytes_[i]));
    }
    if (tenant.quota_bytes == 0) continue;
    most_bytes_[i] = std::max(tenant.quota_bytes, std::min(most_bytes_[i], tenant.used_bytes));
  }
}

}  // namespace kvpool::sim
