// The part of Store that knows whose blocks are whose.
#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/units.h"
#include "pool/store.h"

namespace kvpool::pool {

// Number 0 has what belongs to none of the tenants: all there is, where none are named.
std::vector<Store::Tenant> Store::MakeTenants(const std::vector<TenantConfig>& configs) {
  std::vector<Tenant> tenants(1);
  for (const TenantConfig& config : configs) {
    Tenant tenant;
    tenant.info.name = config.name;
    tenant.info.quota_bytes = config.quota_bytes.value_or(0);
    tenant.info.weight = config.weight;
    tenants.push_back(std::move(tenant));
  }
  return tenants;
}

std::uint16_t Store::TenantOf(const SpaceSpec& spec) const {
  const auto owner = std::find_if(tenants_.begin() + 1, tenants_.end(), [&](const Tenant& tenant) {
    return tenant.info.name == spec.owner;
  });
  return owner == tenants_.end() ? 0 : static_cast<std::uint16_t>(owner - tenants_.begin());
}

void Store::CountBlock(const index::EntryView& view) {
  TenantInfo& tenant = tenants_[view.tenant].info;
  counts_.blocks += 1;
  counts_.block_bytes += view.shape.block_bytes;
  tenant.blocks += 1;
  tenant.block_bytes += view.shape.block_bytes;
}

void Store::UncountBlock(const index::EntryView& view) {
  TenantInfo& tenant = tenants_[view.tenant].info;
  counts_.blocks -= 1;
  counts_.block_bytes -= view.shape.block_bytes;
  tenant.blocks -= 1;
  tenant.block_bytes -= view.shape.block_bytes;
}

bool Store::EvictOne(std::uint16_t tenant) { return Evict(index_.Victim(tenant)); }

bool Store::EvictOne() { return Evict(index_.Victim()); }

bool Store::Evict(index::EntryId victim) {
  if (victim == index::kNoEntry) return false;
  counts_.evictions += 1;
  tenants_[index_.View(victim).tenant].info.evictions += 1;
  Remove(victim);
  return true;
}

std::vector<TenantInfo> Store::Tenants() const {
  MutexLock lock(mutex_);
  std::vector<TenantInfo> tenants;
  for (std::size_t i = 1; i < tenants_.size(); ++i) {
    tenants.push_back(tenants_[i].info);
    tenants.back().used_bytes = index_.slot_bytes(static_cast<std::uint16_t>(i));
    tenants.back().hits = tenants_[i].gone.hits;
    tenants.back().misses = tenants_[i].gone.misses;
  }
  for (const SpaceState& space : spaces_) {
    if (space.tenant == 0) continue;
    tenants[space.tenant - 1u].hits += space.counts.hits;
    tenants[space.tenant - 1u].misses += space.counts.misses;
  }
  return tenants;
}

void Store::ChangeTenants(std::span<const TenantConfig> configs) {
  MutexLock lock(mutex_);
  KVPOOL_CHECK(configs.size() + 1 == tenants_.size());
  for (std::size_t i = 0; i < configs.size(); ++i) {
    Tenant& tenant = tenants_[i + 1];
    tenant.info.quota_bytes = configs[i].quota_bytes.value_or(0);
    tenant.info.weight = configs[i].weight;
    tenant.too_large = 0;
    tenant.said = false;
    index_.SetWeight(static_cast<std::uint16_t>(i + 1), configs[i].weight);
  }
}

std::vector<std::string> Store::TakeRemarks() {
  MutexLock lock(mutex_);
  std::vector<std::string> remarks;
  for (Tenant& tenant : tenants_) {
    if (tenant.too_large == 0 || tenant.said) continue;
    tenant.said = true;
    remarks.push_back(fmt::format(
        "tenant \"{}\": a put takes {} and the quota is {}, so what is over is not stored: raise "
        "quota in the pool file to more than a context takes",
        tenant.info.name, FormatBytes(tenant.too_large), FormatBytes(tenant.info.quota_bytes)));
  }
  return remarks;
}

}  // namespace kvpool::pool
