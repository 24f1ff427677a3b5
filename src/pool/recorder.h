// Recorder: keeps the catalog, off the request path and in batches.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/log_event.h"
#include "base/mutex.h"
#include "catalog/catalog.h"
#include "pool/device_slot.h"
#include "pool/drive_flush.h"
#include "pool/operation.h"
#include "pool/store.h"

namespace kvpool::pool {

// Writes the sentence of an event.
void LogOnStderr(const LogEvent& event);

// Told when everything that was put before Recorder::Add is durable, or could not be made so.
class FlushSink {
 public:
  virtual ~FlushSink() = default;
  virtual void Flushed(Operation& operation, Status status) = 0;
};

// The wall clock, which may jump.
std::int64_t UnixSeconds();

// Every second, and at once when somebody waits: flushes the drives, then writes the changed rows
// in one transaction. Units reach the drive before the row that names them.
// Threads: Add and OpenSpace from any; Step and Sleep from one.
class Recorder {
 public:
  // `catalog` may be null: then a flush only flushes the drives. kIoError (no eventfd).
  static Result<std::unique_ptr<Recorder>> Make(Store& store,
                                                std::span<const std::unique_ptr<DeviceSlot>> slots,
                                                std::unique_ptr<catalog::Catalog> catalog,
                                                const Clock& clock, Log log);
  // Stops the thread. What is not recorded by then is lost.
  ~Recorder();

  // The operation's Flushed follows, on the thread that steps.
  void Add(Operation& operation, FlushSink& sink);

  // Before anything is put into the space. As Store::OpenSpace; its id is on record.
  Result<Space> OpenSpace(const SpaceSpec& spec);

  // Moves on with what is due; waits for nothing but the catalog. True when anything moved.
  bool Step();
  // Sleeps until an event or NextStepNs.
  void Sleep();
  std::int64_t NextStepNs();
  // Records what is left, then no more.
  void Stop();
  bool stopped() const { return stopped_; }  // threads: the one that steps
  bool Idle();                               // threads: the one that steps; nobody waits

  // Runs Step and Sleep on a thread of its own, until destruction, and then records what is left.
  void StartThread();

 private:
  struct Waiter {
    Operation* operation;
    FlushSink* sink;
  };

  Recorder(Store& store, std::span<const std::unique_ptr<DeviceSlot>> slots,
           std::unique_ptr<catalog::Catalog> catalog, const Clock& clock, Log log);
  bool Begin();
  void StartFlushes();
  bool StepFlushes();
  void TakeFailure(DriveFlush& flush);
  void End();
  Status Apply();
  void KeepBack();
  void ForgetSpaces();
  void Settle(const Waiter& waiter, Status status);
  bool ExpireWaiters();
  void RecordWear();
  void LogDrains();
  void Wake();

  Store& store_;
  const std::span<const std::unique_ptr<DeviceSlot>> slots_;
  const Clock& clock_;
  const Log log_;
  int event_fd_ = -1;
  std::mutex catalog_mutex_;  // across the catalog's I/O: spaces are opened or forgotten
  std::unique_ptr<catalog::Catalog> catalog_;

  Mutex mutex_;
  std::vector<Waiter> waiters_ KVPOOL_GUARDED_BY(mutex_);
  bool stop_ KVPOOL_GUARDED_BY(mutex_) = false;

  // Of the thread that steps.
  std::vector<Waiter> served_;            // by the recording under way
  std::vector<catalog::Change> changes_;  // not recorded yet
  std::vector<catalog::WearRow> wear_;    // as last recorded
  std::int64_t wear_ns_ = 0;              // when
  std::vector<std::unique_ptr<DriveFlush>> flushes_;
  std::vector<std::unique_ptr<DriveFlush>> held_;  // given up, but not by their drives
  std::vector<catalog::Change> kept_back_;         // of blocks with units that are not flushed
  std::vector<std::uint64_t> drains_;              // by device, that were logged
  std::uint64_t unflushed_ = 0;                    // bit i: device i has not been flushed
  std::int64_t next_ns_ = 0;                       // when the next recording begins by itself
  bool recording_ = false;
  bool last_ = false;
  bool stopped_ = false;
  bool failing_ = false;  // said once
  std::thread thread_;
};

}  // namespace kvpool::pool
