#include "server/descriptor_shares.h"

#include <fmt/format.h>
#include <sys/resource.h>

namespace kvpool::server {

std::size_t DescriptorShares::MostByLimit() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur / 2 : 512;
}

SharedLimit::Taken TakeFrom(SharedLimit& limit, const ClientTenant& tenant, std::size_t count) {
  return limit.Hold(tenant.number == 0 ? 0 : tenant.number - 1, count);
}

Result<SharedLimit::Taken> DescriptorShares::Take(const ClientTenant& tenant, std::size_t count) {
  if (auto taken = TakeFrom(limit_, tenant, count)) return taken;
  const std::string whose = tenant.number == 0
                                ? "clients have"
                                : fmt::format("clients of tenant \"{}\" have", tenant.name);
  return Fail(Status::kNoSpace,
              fmt::format("{} as many of the daemon's open files as they get, of {} for all: close "
                          "channels, regions, spaces or clients, or raise its limit (LimitNOFILE)",
                          whose, limit_.most()));
}

}  // namespace kvpool::server
