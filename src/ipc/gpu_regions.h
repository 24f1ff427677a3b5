// GpuRegions: a client's memory on GPUs, as far as the daemon has opened it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "gpu/exporter.h"
#include "ipc/connection.h"
#include "ipc/place.h"
#include "kvpool/pool.h"
#include "kvpool/request.h"

namespace kvpool::ipc {

inline bool IsOnGpu(const Segment& segment) {
  return segment.kind == MemoryKind::kGpu && segment.bytes != 0;
}

// Allocations are sent to the daemon when a request first names them, and again to the next daemon.
// Threads: any.
class GpuRegions {
 public:
  // Has the daemon open every allocation on a GPU that segments lie in; host memory among them is
  // passed over. May wait for the daemon. kUnsupported: it has no such GPU, or the memory cannot be
  // shared. kInvalid: the segments lie on several GPUs, or on none. kCancelled: it has gone.
  Status Prepare(const std::shared_ptr<Connection>& connection, std::span<const Segment> segments);

  // Of bytes that were prepared with the present daemon.
  std::optional<Place> Find(const Segment& segment) const;

  // Why the last request was not prepared: one sentence; empty where it was, or was invalid.
  std::string failure() const;

 private:
  struct Opened {
    gpu::Allocation allocation;
    std::uint32_t number = 0;  // the region's
  };

  Result<void> MeetDaemon(const std::shared_ptr<Connection>& connection)
      KVPOOL_REQUIRES(setup_mutex_);
  Result<gpu::Allocation> AllocationOf(const Segment& segment) KVPOOL_REQUIRES(setup_mutex_);
  Result<void> Open(const std::shared_ptr<Connection>& connection,
                    const gpu::Allocation& allocation) KVPOOL_REQUIRES(setup_mutex_);
  void CloseWhatIsGone(const std::shared_ptr<Connection>& connection) KVPOOL_REQUIRES(setup_mutex_);
  Result<void> PrepareAll(const std::shared_ptr<Connection>& connection,
                          std::span<const Segment> segments) KVPOOL_REQUIRES(setup_mutex_);

  Mutex setup_mutex_;  // one request at a time; may be held for as long as a daemon takes
  std::weak_ptr<Connection> daemon_ KVPOOL_GUARDED_BY(setup_mutex_);  // whose numbers they are
  std::vector<GpuInfo> gpus_ KVPOOL_GUARDED_BY(setup_mutex_);         // the daemon's
  std::map<std::string, std::unique_ptr<gpu::Exporter>> exporters_
      KVPOOL_GUARDED_BY(setup_mutex_);  // by kind
  mutable Mutex mutex_;
  std::map<std::uintptr_t, Opened> opened_ KVPOOL_GUARDED_BY(mutex_);  // by first address
  std::string failure_ KVPOOL_GUARDED_BY(mutex_);
};

}  // namespace kvpool::ipc
