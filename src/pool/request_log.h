// RequestLog: the last requests, for timelines and shares.
#pragma once

#include <cstddef>
#include <vector>

#include "base/mutex.h"
#include "pool/operation.h"
#include "pool/statistics.h"

namespace kvpool::pool {

// A ring of fixed size: one short lock a request. Threads: any.
class RequestLog {
 public:
  RequestLog() { ring_.reserve(kRequestsLogged); }

  // Of an operation whose units are all done. Those that had none are not logged.
  void Add(const Operation& operation, std::int64_t now_ns);
  // The oldest first.
  std::vector<LoggedRequest> Read() const;

 private:
  mutable Mutex mutex_;
  std::vector<LoggedRequest> ring_ KVPOOL_GUARDED_BY(mutex_);
  std::size_t next_ KVPOOL_GUARDED_BY(mutex_) = 0;  // the oldest, once the ring is full
};

// Of all bytes of `log`, the fraction that device `i` of `devices` moved.
std::vector<double> SharesOf(const std::vector<LoggedRequest>& log, std::size_t devices);

}  // namespace kvpool::pool
