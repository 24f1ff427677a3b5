// Channel: one thread's handle on a pool.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kvpool/request.h"
#include "kvpool/status.h"

namespace kvpool {

struct ChannelOptions {
  // Poll itself makes the progress and no pool thread works for this channel (benchmarks, the
  // simulator). Otherwise the pool's lanes do, and Poll only collects.
  bool caller_driven = false;

  // Whose the channel is, for sharing out devices that more than one wants: tenants get by their
  // weights, and a tenant's clients alike, however much each asks for; what one leaves, the others
  // get. A client's requests of a kind are served in their order. With a daemon's pool this is the
  // daemon's to say.
  std::uint32_t tenant = 0;
  std::uint32_t tenant_weight = 1;  // 1 to 1,000, the same for all channels of a tenant
  std::uint64_t client = 0;         // below 2^63; 0: the channel is a client of its own
};

// Submit a batch the caller owns, Poll for what is done. Every request that Submit took is handed
// back by Poll exactly once, and only when no device can touch its memory any more. Gets go before
// puts on every lane's queue, and both before requests of the background.
// Threads: one at a time; open one channel per thread.
class Channel {
 public:
  // Waits for what is in flight; what was not polled is forgotten.
  virtual ~Channel() = default;

  // Takes the request. kOk; kBusy (too many in flight); kInvalid (a limit in the request's own
  // description is broken, or its segments on a GPU lie on several, or in no GPU's memory);
  // kUnsupported (segments on a GPU that the pool does not have: name it in the pool file; with a
  // daemon's pool also memory that cannot be shared with it: GpuInfo::failure says why). When not
  // kOk nothing happened and the request is the caller's. A daemon is waited for where it has not
  // seen an allocation on a GPU before.
  virtual Status Submit(PutRequest& request) = 0;
  virtual Status Submit(GetRequest& request) = 0;
  virtual Status Submit(DropRequest& request) = 0;
  virtual Status Submit(FlushRequest& request) = 0;

  // Writes up to done.size() finished requests to `done` and returns how many. Does not wait.
  virtual std::size_t Poll(std::span<Request*> done) = 0;

  // Returns when Poll has something, or after `timeout`. False: the timeout passed.
  virtual bool Wait(std::chrono::nanoseconds timeout) = 0;

  // A descriptor to poll, readable when Poll has something; Poll clears it. Owned by the channel.
  virtual int event_fd() const = 0;

  // Ends the lease of a completed get.
  virtual void Release(GetRequest& request) = 0;
};

}  // namespace kvpool
