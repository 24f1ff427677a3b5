// ChannelImpl: one thread's way into the pool.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "kvpool/channel.h"
#include "pool/lane.h"
#include "pool/mover.h"
#include "pool/operation.h"
#include "pool/recorder.h"
#include "pool/request_log.h"
#include "pool/store.h"

namespace kvpool::pool {

struct ChannelParts {
  Store* store = nullptr;
  Recorder* recorder = nullptr;
  Mover* mover = nullptr;
  RequestLog* gets = nullptr;
  RequestLog* puts = nullptr;
  const Clock* clock = nullptr;
  std::int64_t deadline_ns = 0;                         // of requests that name none
  std::span<const std::vector<Lane*>> lanes_of_device;  // who serves which device
  std::size_t devices = 0;
  std::span<const std::shared_ptr<gpu::Stager>> gpus;  // outlive the channel
  FlowId flow;                                         // of its requests
  LeaseBudget* lease_budget = nullptr;
  std::unique_ptr<Lane> own_lane;  // caller-driven: the only lane
  bool threads = true;             // off: nobody but the caller moves anything, and Wait does not
};

// Threads: the channel's own, except the two sinks, which lanes and the recorder call.
class ChannelImpl final : public Channel, private OperationSink, private FlushSink {
 public:
  static Result<std::unique_ptr<Channel>> Make(ChannelParts parts);
  ~ChannelImpl() override;

  Status Submit(PutRequest& request) override;
  Status Submit(GetRequest& request) override;
  Status Submit(DropRequest& request) override;
  Status Submit(FlushRequest& request) override;
  std::size_t Poll(std::span<Request*> done) override;
  bool Wait(std::chrono::nanoseconds timeout) override;
  int event_fd() const override { return event_fd_; }
  void Release(GetRequest& request) override;

 private:
  explicit ChannelImpl(ChannelParts parts) : parts_(std::move(parts)) {}

  Status Admit(const Request& request, std::span<const Segment> segments) const;
  Status FindPlace(const Request& request, std::span<const Segment> segments, int& gpu) const;
  Operation& Begin(OperationKind kind, Request& request);
  void Dispatch(Operation& operation);
  void UnitsDone(Operation& operation) override;
  void Flushed(Operation& operation, Status status) override;
  void Finish(Operation& operation);
  bool HasDone();
  void ClearEvent();
  void Drain();

  ChannelParts parts_;
  int event_fd_ = -1;
  std::vector<std::unique_ptr<Operation>> operations_;
  std::vector<Operation*> resting_;  // not in flight; reusable once lanes let go
  std::vector<Operation*> leases_;
  std::size_t in_flight_ = 0;
  std::vector<Operation*> ready_;  // taken from done_, not yet handed out
  std::size_t ready_next_ = 0;

  Mutex mutex_;
  std::vector<Operation*> done_ KVPOOL_GUARDED_BY(mutex_);
};

}  // namespace kvpool::pool
