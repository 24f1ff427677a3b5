// DescriptorShares: how many of the daemon's descriptors the clients of each tenant may take.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>

#include "base/shared_limit.h"
#include "server/tenants.h"

namespace kvpool::server {

// Null: the tenant has what it gets. In a pool without tenants all clients are one.
SharedLimit::Taken TakeFrom(SharedLimit& limit, const ClientTenant& tenant, std::size_t count);

// A tenant's are counted, however few or many its clients are. Not those of connections in
// operators' places, nor what the daemon needs for itself: the other half is for these. Threads:
// any.
class DescriptorShares {
 public:
  // At most, each.
  static constexpr std::size_t kOfConnection = 3;  // the last one: what comes with a message
  static constexpr std::size_t kOfChannel = 4;
  static constexpr std::size_t kOfRegion = 1;
  static constexpr std::size_t kOfSpace = 1;  // however many clients of the tenant have it open

  // `tenants`: of the pool. `most`: for all clients together.
  explicit DescriptorShares(std::size_t tenants, std::size_t most = MostByLimit())
      : limit_(most, std::max<std::size_t>(1, tenants)) {}
  // Half of what this process may open.
  static std::size_t MostByLimit();

  // kNoSpace: the tenant has what it gets.
  Result<SharedLimit::Taken> Take(const ClientTenant& tenant, std::size_t count);

 private:
  SharedLimit limit_;
};

}  // namespace kvpool::server
