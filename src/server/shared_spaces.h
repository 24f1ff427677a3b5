// SharedSpaces: the spaces that clients have open, each with a table of its keys for them to look
// into.
#pragma once

#include <map>
#include <memory>
#include <utility>

#include "base/mutex.h"
#include "ipc/presence.h"
#include "pool/pool_impl.h"
#include "server/descriptor_shares.h"

namespace kvpool::server {

// A space for as long as any client has it open. Threads: any.
class SharedSpace {
 public:
  // Takes over one opening of `space`.
  SharedSpace(pool::PoolImpl& pool, Space space) : pool_(pool), space_(space) {}
  ~SharedSpace();
  SharedSpace(const SharedSpace&) = delete;
  SharedSpace& operator=(const SharedSpace&) = delete;

  Space space() const { return space_; }
  // The present table. The first call makes and fills it; kNoSpace: there is no memory for one, or
  // none was left when it had to grow.
  Result<std::shared_ptr<ipc::SharedTable>> Table();

 private:
  class Keys;

  pool::PoolImpl& pool_;
  const Space space_;
  Mutex mutex_;  // held while it is filled: who opens the space as well waits for that
  std::shared_ptr<Keys> keys_ KVPOOL_GUARDED_BY(mutex_);  // null: nobody has asked yet
};

// Threads: any.
class SharedSpaces {
 public:
  // `most`: spaces at a time, each of which takes a descriptor. `descriptors`: the tenants' shares
  // in these, which outlive this; null: nobody counts.
  explicit SharedSpaces(pool::PoolImpl& pool, std::size_t most = MostByDescriptors(),
                        DescriptorShares* descriptors = nullptr)
      : pool_(pool), most_(most), descriptors_(descriptors) {}
  // A quarter of what this process may open, so that clients who open ever more spaces leave the
  // rest to others.
  static std::size_t MostByDescriptors();

  // For a client of `tenant`. Open until the last who holds it lets go. kNoSpace: clients have
  // `most` open, or as DescriptorShares::Take. Else what the pool says.
  Result<std::shared_ptr<SharedSpace>> Open(const SpaceSpec& spec, const ClientTenant& tenant = {});

 private:
  // What one tenant's clients have open, once for all of them.
  struct Held {
    std::shared_ptr<SharedSpace> shared;
    SharedLimit::Taken descriptor;
  };
  Result<std::shared_ptr<SharedSpace>> OpenLocked(const SpaceSpec& spec) KVPOOL_REQUIRES(mutex_);

  pool::PoolImpl& pool_;
  const std::size_t most_;
  DescriptorShares* const descriptors_;
  Mutex mutex_;
  std::map<std::uint32_t, std::weak_ptr<SharedSpace>> open_ KVPOOL_GUARDED_BY(mutex_);
  // By tenant and space.
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::weak_ptr<Held>> held_
      KVPOOL_GUARDED_BY(mutex_);
};

}  // namespace kvpool::server
