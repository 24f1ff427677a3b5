// WebServer: /metrics for Prometheus, / and /api/status for people: over HTTP, for reading only.
#pragma once

#include <functional>
#include <memory>

#include "kvpool/result.h"
#include "status/status.h"
#include "web/address.h"

namespace kvpool::web {

// Called by its threads, at most every 100 ms.
using StatusSource = std::function<status::DaemonStatus()>;

// Answers GET alone, and only requests that name it by its address (IsOwnHost). A client that is
// slow or says too much is hung up on after 5 s or 16 KiB; eight at once are served.
// Threads: any; it has its own.
class WebServer {
 public:
  // kBusy: the port is taken. kIoError: else it cannot listen there.
  static Result<std::unique_ptr<WebServer>> Listen(const Address& at, StatusSource source);
  virtual ~WebServer() = default;  // waits for the answers under way

  virtual Address address() const = 0;  // with the port that was taken for 0
};

}  // namespace kvpool::web
