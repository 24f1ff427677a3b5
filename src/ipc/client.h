// Client: what a process has of a daemon's pool: a connection that comes back by itself, spaces,
// and memory that both sides map.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "ipc/bells.h"
#include "ipc/connection.h"
#include "ipc/gpu_regions.h"
#include "ipc/place.h"
#include "ipc/presence.h"
#include "kvpool/pool.h"
#include "mem/lent_memory.h"
#include "mem/region.h"

namespace kvpool::ipc {

// A region and its number with the present daemon.
struct ClientRegion {
  std::unique_ptr<mem::Region> memory;
  RegionPurpose purpose = RegionPurpose::kData;
  std::uint32_t number = 0;
};

// The memory that a daemon lends of one space, by its number; null: none has it.
using LentMemories = std::vector<std::shared_ptr<mem::BorrowedMemory>>;

// Threads: any.
class Client {
 public:
  static Result<std::unique_ptr<Client>> Connect(const std::filesystem::path& socket);
  ~Client();

  // The connection to open a channel by; null while there is no daemon.
  std::shared_ptr<Connection> connection() const;

  Result<Space> OpenSpace(const SpaceSpec& spec);
  struct OpenedSpace {
    std::uint32_t number = 0;  // with the present daemon
    std::uint32_t layers = 0;
  };
  std::optional<OpenedSpace> Find(Space space) const;
  // Its keys; null where that is not known.
  std::shared_ptr<SharedTable> Presence(Space space);

  // What `connection` lends of the space's blocks, asked for once; null where that cannot be had.
  std::shared_ptr<const LentMemories> LentBy(const std::shared_ptr<Connection>& connection,
                                             Space space);

  // `locked`: pinned and populated now.
  Result<std::shared_ptr<ClientRegion>> AddRegion(std::uint64_t bytes, RegionPurpose purpose,
                                                  int numa_node, bool locked);
  void RemoveRegion(const std::shared_ptr<ClientRegion>& region);
  // Where bytes lie that are wholly within one region of data.
  std::optional<Place> Find(std::span<const std::byte> bytes) const;

  Result<PoolInfo> Info();

  GpuRegions& gpus() { return gpus_; }

  // Of its channels: those whose users wait by their event_fd.
  Bells& bells() { return bells_; }

 private:
  struct SpaceEntry {
    SpaceSpec spec;
    OpenedSpace opened;
    std::shared_ptr<SharedTable> presence;
    std::shared_ptr<const LentMemories> lent = nullptr;  // null: not asked for
  };

  Client() = default;
  void Run();
  bool Reconnect();
  static Result<SpaceEntry> AskForSpace(Connection& connection, const SpaceSpec& spec);
  static Result<std::shared_ptr<const LentMemories>> AskForLent(Connection& connection,
                                                                std::uint32_t space);
  static Result<std::uint32_t> AskForRegion(Connection& connection, const ClientRegion& region);

  std::filesystem::path path_;
  Descriptor stop_;
  Bells bells_;
  GpuRegions gpus_;
  Mutex setup_mutex_;  // one change at a time; may be held for as long as a daemon takes
  mutable Mutex mutex_;
  std::shared_ptr<Connection> connection_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<SpaceEntry> spaces_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<ClientRegion>> regions_ KVPOOL_GUARDED_BY(mutex_);  // by address
  std::thread watcher_;
};

}  // namespace kvpool::ipc
