// Roster: who uses the daemon at present.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "base/mutex.h"

namespace kvpool::server {

struct ClientInfo {
  std::uint32_t pid = 0;
  std::uint32_t uid = 0;
  std::string program;  // as it says itself
  std::int64_t since_ns = 0;
};

// Threads: any.
class Roster {
 public:
  using Place = std::list<ClientInfo>::iterator;

  Place Add(ClientInfo client) {
    MutexLock lock(mutex_);
    return clients_.insert(clients_.end(), std::move(client));
  }
  void Remove(Place place) {
    MutexLock lock(mutex_);
    clients_.erase(place);
  }
  // The first to come first.
  std::vector<ClientInfo> List() const {
    MutexLock lock(mutex_);
    return {clients_.begin(), clients_.end()};
  }

 private:
  mutable Mutex mutex_;
  std::list<ClientInfo> clients_ KVPOOL_GUARDED_BY(mutex_);
};

}  // namespace kvpool::server
