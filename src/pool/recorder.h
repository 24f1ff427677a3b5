// Recorder: keeps the catalog, off the request path and in batches.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "catalog/catalog.h"
#include "pool/device_slot.h"
#include "pool/operation.h"
#include "pool/store.h"

namespace kvpool::pool {

// Told when everything that was put before Recorder::Add is durable, or could not be made so.
class FlushSink {
 public:
  virtual ~FlushSink() = default;
  virtual void Flushed(Operation& operation, Status status) = 0;
};

// Every second, and at once when somebody waits: flushes the drives, then writes the changed rows
// in one transaction. Units reach the drive before the row that names them.
// Threads: any; the work is done by one of its own.
class Recorder {
 public:
  // `catalog` may be null: then a flush only flushes the drives.
  Recorder(Store& store, std::span<const std::unique_ptr<DeviceSlot>> slots,
           std::unique_ptr<catalog::Catalog> catalog, const Clock& clock);
  ~Recorder();  // records what is left

  // The operation's Flushed follows, on the recorder's thread.
  void Add(Operation& operation, FlushSink& sink);

  // Threads: the caller's own, before anything is put.
  Result<std::uint32_t> SpaceId(const SpaceSpec& spec);

 private:
  struct Waiter {
    Operation* operation;
    FlushSink* sink;
  };
  void Run();
  Status Record();
  Status FlushDrives();

  Store& store_;
  const std::span<const std::unique_ptr<DeviceSlot>> slots_;
  const Clock& clock_;
  std::mutex catalog_mutex_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::vector<catalog::Change> changes_;  // not recorded yet; of the recorder's thread
  bool failing_ = false;                  // said once

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Waiter> waiters_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace kvpool::pool
