// SharedSpaces: the spaces that clients have open, each with a table of its keys for them to look
// into.
#pragma once

#include <map>
#include <memory>

#include "base/mutex.h"
#include "ipc/presence.h"
#include "pool/pool_impl.h"

namespace kvpool::server {

// A space for as long as any client has it open. Threads: any.
class SharedSpace {
 public:
  // Takes over one opening of `space`. kNoSpace: there is no memory for a table.
  static Result<std::shared_ptr<SharedSpace>> Make(pool::PoolImpl& pool, Space space);
  ~SharedSpace();
  SharedSpace(const SharedSpace&) = delete;
  SharedSpace& operator=(const SharedSpace&) = delete;

  Space space() const { return space_; }
  // The present table. The first call fills it; kNoSpace: no memory was left when it had to grow.
  Result<std::shared_ptr<ipc::SharedTable>> Table();

 private:
  class Keys;
  SharedSpace(pool::PoolImpl& pool, Space space) : pool_(pool), space_(space) {}

  pool::PoolImpl& pool_;
  const Space space_;
  Mutex filling_;
  bool filled_ KVPOOL_GUARDED_BY(filling_) = false;
  std::shared_ptr<Keys> keys_;  // the pool writes there, too, under its own lock
};

// Threads: any.
class SharedSpaces {
 public:
  // `most`: spaces at a time, each of which takes a descriptor.
  explicit SharedSpaces(pool::PoolImpl& pool, std::size_t most = MostByDescriptors())
      : pool_(pool), most_(most) {}
  // A quarter of what this process may open, so that clients who open ever more spaces leave the
  // rest to others.
  static std::size_t MostByDescriptors();

  // Open until the last who holds it lets go. kNoSpace: clients have `most` open, or as
  // SharedSpace::Make. Else what the pool says.
  Result<std::shared_ptr<SharedSpace>> Open(const SpaceSpec& spec);

 private:
  pool::PoolImpl& pool_;
  const std::size_t most_;
  Mutex mutex_;
  std::map<std::uint32_t, std::weak_ptr<SharedSpace>> open_ KVPOOL_GUARDED_BY(mutex_);
};

}  // namespace kvpool::server
