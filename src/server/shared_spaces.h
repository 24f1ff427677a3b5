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
  // `most`: tables, each of which takes a descriptor for good.
  explicit SharedSpaces(pool::PoolImpl& pool, std::size_t most = MostByDescriptors())
      : pool_(pool), most_(most) {}
  // A quarter of what this process may open, so that clients who open ever new spaces leave the
  // rest to others.
  static std::size_t MostByDescriptors();

  // The present table of an open space. kNoSpace: there is no memory for one, or there are `most`.
  Result<std::shared_ptr<ipc::SharedTable>> TableOf(Space space);

 private:
  class Table;
  pool::PoolImpl& pool_;
  const std::size_t most_;
  Mutex mutex_;
  std::map<std::uint32_t, std::shared_ptr<Table>> tables_ KVPOOL_GUARDED_BY(mutex_);
};

}  // namespace kvpool::server
