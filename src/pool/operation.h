// Operation: one request in flight, as the lanes see it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/request_access.h"
#include "index/index.h"
#include "kvpool/request.h"
#include "layout/extent.h"
#include "pool/flow_id.h"

namespace kvpool::pool {

class LeaseBudget;
class Operation;

// One unit to move: bytes [unit * unit_bytes, + bytes) of a key's block, at `offset` of a device.
struct UnitWork {
  std::uint64_t offset = 0;
  std::uint64_t checksum = 0;  // get: expected; put: filled in when the write is issued
  std::uint32_t bytes = 0;
  std::uint32_t key = 0;
  std::uint32_t unit = 0;
  Status status = Status::kOk;  // of the transfer, once done
};

// What an operation keeps of one key.
struct KeyWork {
  index::EntryId entry = index::kNoEntry;
  std::uint64_t seed = 0;  // of its checksums
  layout::BlockShape shape;
  std::uint32_t owner = 0;       // of its bytes, to a device
  bool copied = false;           // of a lease: not handed out in place
  bool recent = true;            // written since the pool was opened
  std::uint64_t generation = 0;  // a flush's: it does not pin what it waits for
};

// The units of one operation on one device, in the order of retrieval. Lanes that share a device
// take runs of units by moving the cursor.
struct DeviceBatch {
  Operation* operation = nullptr;
  layout::DeviceIndex device = 0;
  UnitWork* units = nullptr;  // the operation's, until its Reset
  std::uint32_t end = 0;
  std::atomic<std::uint32_t> cursor{0};
  std::atomic<bool> announced{false};         // its units count as waiting for the device
  std::atomic<std::uint64_t> moved_bytes{0};  // by transfers that went well
  std::atomic<std::int64_t> moved_ns{0};      // when a lane saw the end of the last of them

  bool Exhausted() const { return cursor.load(std::memory_order_relaxed) >= end; }
};

// Told when the last unit of an operation is done. Threads: the lane that did it.
class OperationSink {
 public:
  virtual ~OperationSink() = default;
  virtual void UnitsDone(Operation& operation) = 0;
};

enum class OperationKind : std::uint8_t { kGet, kPut, kDrop, kFlush };

// Filled by the channel's thread, then worked on by lanes, then read by the channel's thread
// again. Reused: its vectors keep their memory.
// Threads: between Start and the sink's UnitsDone: lanes, through UnitDone and the cursors only.
class Operation {
 public:
  OperationKind kind = OperationKind::kGet;
  bool lease = false;
  LeaseBudget* lease_budget = nullptr;  // for other processes; null: for this one, without bound
  bool durable = false;
  FlowId flow;   // whose it is
  int gpu = -1;  // the pool's GPU that segments of it lie on; -1: all are host memory
  std::atomic<bool> gpu_failed{false};  // a copy to or from it did
  Priority priority = Priority::kForeground;
  bool moves = false;               // the mover's: goes last
  std::atomic<bool> urgent{false};  // ... but not for ever
  Request* request = nullptr;
  std::vector<Segment> segments;  // copied: a lane may look at them while the caller polls the end
  std::int64_t submitted_ns = 0;
  std::int64_t deadline_ns = 0;
  std::uint64_t generation = 0;  // of a flush without keys: it waits for all below
  OperationSink* sink = nullptr;
  std::vector<KeyWork> keys;
  std::vector<std::vector<UnitWork>> units;        // by device
  std::vector<std::vector<UnitWork>> first_units;  // those of the first start, after a second one

  void Reset(OperationKind new_kind, Request& new_request, std::size_t devices);

  // After `units` is filled: counts, makes the batches of the devices that have work.
  // `layers`: the request's layers, for a get's progress; 0: no progress is reported.
  void Start(std::uint32_t layers);
  // Once, after every unit of the first start is done: with `again` as units. Lanes may still look
  // at the first batches.
  void StartAgain(std::vector<std::vector<UnitWork>> again);
  bool started_again() const { return again_; }
  std::span<DeviceBatch> batches() { return {batches_[again_].get(), batch_count_[again_]}; }
  // Every batch of both starts, when all units are done.
  template <class Look>
  void ForEachMoved(const Look& look) const {
    for (const bool again : {false, true}) {
      if (again && !again_) return;
      for (std::size_t i = 0; i < batch_count_[again]; ++i) look(batches_[again][i]);
    }
  }

  static UnitWork& UnitAt(const DeviceBatch& batch, std::uint32_t position) {
    return batch.units[position];
  }
  std::span<const Segment> SegmentsOfKey(std::uint32_t key) const;

  // What is next of the batch belongs to a layer that is more than `layers` behind the first one
  // that is not complete.
  bool IsAhead(const DeviceBatch& batch, std::uint32_t layers) const;

  // Exactly once a unit.
  void UnitDone(UnitWork& work, Status status);
  // Nothing more will come: every layer is in place, or known to be missing.
  void EndLayers();
  // For an operation without units.
  bool HasUnits() const { return unit_count_ != 0; }

  Status KeyStatus(std::size_t key) const { return (*results_)[key]; }
  void SetKeyStatus(std::size_t key, Status status) { (*results_)[key] = status; }

  // Lanes that may still look at a batch; it must not be reused before they let go.
  void AddLane() { lanes_.fetch_add(1, std::memory_order_relaxed); }
  void LetGo() { lanes_.fetch_sub(1, std::memory_order_release); }
  bool Reusable() const { return lanes_.load(std::memory_order_acquire) == 0; }

 private:
  void MakeBatches();
  void CountLayers();
  void AdvanceLayers(const UnitWork& work);
  void AdvanceReady();
  void Mirror() const;
  std::pair<std::uint32_t, std::uint32_t> LayersOf(const UnitWork& work) const;

  std::vector<Status>* results_ = nullptr;
  std::atomic<std::uint32_t>* layers_ready_ = nullptr;
  std::atomic<std::uint32_t>* mirror_ = nullptr;  // another process', which may write there, too
  std::vector<std::uint32_t> layer_units_left_;
  std::unique_ptr<DeviceBatch[]> batches_[2];  // of the first start, of the second
  bool again_ = false;
  std::size_t batch_capacity_ = 0;
  std::size_t batch_count_[2] = {};
  std::uint64_t unit_count_ = 0;
  std::atomic<std::uint64_t> units_left_{0};
  std::atomic<std::uint32_t> lanes_{0};
};

}  // namespace kvpool::pool
