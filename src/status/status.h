// DaemonStatus: what the daemon says of its pool and its clients, as one JSON text: for its page,
// and by the socket for `kvpool top`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvpool/result.h"
#include "pool/statistics.h"
#include "server/roster.h"

namespace kvpool::status {

struct DaemonStatus {
  std::string version;
  double up_s = 0;
  pool::PoolStatistics pool;
  std::vector<server::ClientInfo> clients;  // since_ns: by the clock of PoolStatistics::now_ns
};

// docs/metrics.md has its keys. At most 1 MiB.
std::string ToJson(const DaemonStatus& status);
// kInvalid: it is not what ToJson gives.
Result<DaemonStatus> FromJson(std::string_view json);

}  // namespace kvpool::status
