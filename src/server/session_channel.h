// SessionChannel: a client's rings, and the pool's channel that does what they say.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "base/descriptor.h"
#include "gpu/handle.h"
#include "ipc/arguments.h"
#include "ipc/ring.h"
#include "kvpool/channel.h"
#include "mem/region.h"
#include "pool/pool_impl.h"
#include "server/descriptor_shares.h"

namespace kvpool::server {

// A client's memory, mapped here: of its host, or on a GPU.
struct SessionRegion {
  SharedLimit::Taken descriptor;
  std::unique_ptr<mem::Region> memory;       // null: it is on a GPU
  std::shared_ptr<Memory> registered;        // with the devices; null: arguments
  std::unique_ptr<gpu::ImportedMemory> gpu;  // null: it is the host's

  // For the bytes of blocks; nothing else than these may touch what is on a GPU.
  bool IsData() const { return registered || gpu; }
  std::span<std::byte> bytes() const { return gpu ? gpu->bytes() : memory->bytes(); }
  MemoryKind kind() const { return gpu ? MemoryKind::kGpu : MemoryKind::kHost; }
};
class SharedSpace;
struct GrantedSpace {
  Space space;
  bool writable = true;
  std::shared_ptr<SharedSpace> shared;  // keeps it open
};
using Regions = std::map<std::uint32_t, std::shared_ptr<SessionRegion>>;

// Takes nothing that a client says for granted. Threads: the session's.
class SessionChannel {
 public:
  // `leases`: the client's, for all of its channels; outlives this.
  static Result<std::unique_ptr<SessionChannel>> Open(pool::PoolImpl& pool, std::uint32_t depth,
                                                      const ChannelOptions& options,
                                                      pool::LeaseBudget& leases);
  ~SessionChannel();  // waits for what is in flight

  // The client's ends.
  int memory_fd() const { return memory_fd_.get(); }
  Descriptor TakeClientBell() { return std::move(client_bell_); }

  int bell() const { return bell_.get(); }
  int event_fd() const { return channel_->event_fd(); }

  enum class Moved : std::uint8_t { kSomething, kNothing, kViolation };
  // One round: ends what is done, takes what comes. `spaces`: by the client's numbers.
  Moved Step(const Regions& regions, const std::vector<GrantedSpace>& spaces);
  // False: something came meanwhile.
  bool GoToSleep();
  bool idle() const { return in_flight_ == 0; }
  // Takes no more submissions.
  void Close() { closed_ = true; }

 private:
  struct Work;

  explicit SessionChannel(pool::PoolImpl& pool);
  bool Collect();
  Moved TakeOne(const Regions& regions, const std::vector<GrantedSpace>& spaces);
  Status Begin(Work& work, const Regions& regions, const std::vector<GrantedSpace>& spaces);
  bool TakeSegments(Work& work, const Regions& regions);
  Status Submit(Work& work, Space space);
  void End(Work& work, Status status);
  void WriteResults(Work& work);
  void WriteViews(Work& work, std::byte* to);
  bool MayLease(const ipc::Submission& submission) const;
  void EndLease(std::uint64_t id);

  pool::PoolImpl& pool_;
  std::unique_ptr<Channel> channel_;
  Descriptor memory_fd_;
  std::span<std::byte> memory_;
  Descriptor bell_;
  Descriptor client_bell_;
  std::unique_ptr<ipc::DaemonRing> ring_;
  std::vector<std::unique_ptr<Work>> work_;
  std::vector<Work*> resting_;
  std::map<std::uint64_t, Work*> leases_;  // gets that have ended and are not released, by id
  std::size_t lease_keys_ = 0;             // of these, and of leases in flight
  std::size_t in_flight_ = 0;
  std::uint64_t argument_bytes_ = 0;  // copied, of what is in flight
  bool call_ = false;                 // something was completed since the client was last called
  bool closed_ = false;
};

}  // namespace kvpool::server
