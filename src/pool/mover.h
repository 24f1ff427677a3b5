// Mover: carries units from device to device behind the requests: spills what lies in memory only
// to drives, so that a restart is warm and memory can be given up at no cost.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "kvpool/request.h"
#include "mem/region.h"
#include "pool/device_slot.h"
#include "pool/lane.h"
#include "pool/move.h"
#include "pool/operation.h"
#include "pool/recorder.h"
#include "pool/store.h"

namespace kvpool::pool {

struct MoverParts {
  Store* store = nullptr;
  Recorder* recorder = nullptr;
  std::span<const std::unique_ptr<DeviceSlot>> slots;
  std::span<const std::vector<Lane*>> lanes_of_device;
  const Clock* clock = nullptr;
  std::int64_t deadline_ns = 0;  // of one batch
};

// Its reads and writes go last on every queue: a device that has requests to serve leaves them
// waiting, until they have waited for kUrgentNs.
// Threads: Add and Wake any; Step one, the mover's own after StartThread.
class Mover final : private OperationSink {
 public:
  explicit Mover(const MoverParts& parts);
  ~Mover() override;  // lanes run; Stop, where it has a thread

  // A flush of blocks with units in memory (Store::CheckFlush said so): the recorder gets it, for
  // `sink`, when they are on drives or cannot be.
  void Add(Operation& flush, FlushSink& sink);
  // There may be something to do.
  void Wake();

  // One round. True when anything moved.
  bool Step();
  // When Step should run again without an arrival.
  std::int64_t NextStepNs() const;
  bool Idle() const;  // threads: the one that steps
  // Ends what is under way, then spills what is left as far as it gets.
  void Stop();
  bool stopped() const { return stopped_; }  // threads: the one that steps
  void StartThread();

 private:
  enum class Stage : std::uint8_t { kResting, kReading, kWriting };
  struct Trip {
    Move move;
    Stage stage = Stage::kResting;
    GetRequest get;
    PutRequest put;
    Operation reading;
    Operation writing;
    std::vector<Key> names;  // of nothing: a unit is a key of the two operations
    std::unique_ptr<mem::Region> buffer;
    std::vector<std::uint64_t> begin;  // of each unit in the buffer
    // No lane looks at its operations any more.
    bool Free() const { return reading.Reusable() && writing.Reusable(); }
  };
  struct Waiter {
    Operation* operation;
    FlushSink* sink;
  };

  void UnitsDone(Operation& operation) override;
  bool TripsRest() const;
  bool Begin(Trip& trip);
  void Rest();
  bool MayEvacuate();
  void Write(Trip& trip);
  void TakeStatus(Trip& trip);
  void End(Trip& trip);
  bool TakeArrivals();
  void Prepare(Operation& operation, OperationKind kind, Request& request, Trip& trip);
  void Send(Operation& operation);
  bool MakeBuffer(Trip& trip);
  bool ServeFlushes();
  void HurryUp();
  void Sleep() KVPOOL_REQUIRES(mutex_);
  void Run();

  const MoverParts parts_;
  std::vector<std::unique_ptr<Trip>> trips_;
  std::vector<Waiter> flushes_;  // of the thread that steps
  std::vector<Operation*> taken_;
  bool stopping_ = false;
  bool stopped_ = false;
  std::int64_t look_ns_ KVPOOL_GUARDED_BY(mutex_) = 0;  // when Step should run without being woken
  std::int64_t rest_until_ns_ = 0;  // drives had no room, or failed: no use in trying again before

  mutable Mutex mutex_;
  std::condition_variable_any wake_;
  std::vector<Operation*> arrived_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<Waiter> added_ KVPOOL_GUARDED_BY(mutex_);
  bool awake_ KVPOOL_GUARDED_BY(mutex_) = false;
  bool stop_ KVPOOL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace kvpool::pool
