// The part of Store that holds each tenant to its quota.
#include <algorithm>

#include "pool/store.h"

namespace kvpool::pool {
namespace {

// More than a put needs, of a tenant that is above a quota which was lowered: a bound on the work
// that one put does under the lock.
constexpr int kEvictionsToQuota = 64;

}  // namespace

// How many of `possible` blocks the quota of the space's tenant lets in, when its coldest have gone
// for them. `wanted`: that were put.
std::uint64_t Store::MakeRoomInQuota(std::uint32_t space, const layout::BlockShape& shape,
                                     std::uint64_t wanted, std::uint64_t possible) {
  const std::uint16_t number = spaces_[space].tenant;
  Tenant& tenant = tenants_[number];
  const std::uint64_t quota = tenant.info.quota_bytes;
  if (quota == 0) return possible;
  const std::uint64_t bytes = std::uint64_t{shape.units} * shape.slot_bytes;
  if (wanted * bytes > quota) tenant.too_large = std::max(tenant.too_large, wanted * bytes);
  for (int i = 0; i < kEvictionsToQuota && index_.slot_bytes(number) > quota; ++i) {
    if (!EvictOne(number)) break;
  }
  // A tenant that is still above a lowered quota gives up as much as it puts.
  const std::uint64_t limit = std::max(quota, index_.slot_bytes(number));
  const std::uint64_t pinned = std::min(limit, index_.pinned_slot_bytes(number));
  const std::uint64_t blocks = std::min(possible, (limit - pinned) / bytes);
  while (index_.slot_bytes(number) + blocks * bytes > limit && EvictOne(number)) continue;
  const std::uint64_t fitting = std::min(blocks, (limit - index_.slot_bytes(number)) / bytes);
  tenant.info.declined += possible - fitting;
  return fitting;
}

}  // namespace kvpool::pool
