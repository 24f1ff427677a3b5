// FlowId: whose a request is, for sharing out a device.
#pragma once

#include <cstdint>

namespace kvpool::pool {

struct FlowId {
  std::uint32_t tenant = 0;
  std::uint32_t tenant_weight = 1;  // 1 to kMaxTenantWeight
  std::uint64_t client = 0;         // of the tenant's
};

}  // namespace kvpool::pool
