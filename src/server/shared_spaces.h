// SharedSpaces: the tables of keys that clients look into, a space each.
#pragma once

#include <map>
#include <memory>

#include "base/mutex.h"
#include "ipc/presence.h"
#include "pool/pool_impl.h"

namespace kvpool::server {

// Threads: any.
class SharedSpaces {
 public:
  explicit SharedSpaces(pool::PoolImpl& pool) : pool_(pool) {}

  // The present table of an open space. kNoSpace: there is no memory for one.
  Result<std::shared_ptr<ipc::SharedTable>> TableOf(Space space);

 private:
  class Table;
  pool::PoolImpl& pool_;
  Mutex mutex_;
  std::map<std::uint32_t, std::shared_ptr<Table>> tables_ KVPOOL_GUARDED_BY(mutex_);
};

}  // namespace kvpool::server
