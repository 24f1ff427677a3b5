// Grants: what one client has of the daemon: its spaces, channels and regions, and the answers to
// its questions for more.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "base/descriptor.h"
#include "ipc/protocol.h"
#include "pool/lease_budget.h"
#include "server/descriptor_shares.h"
#include "server/session_channel.h"
#include "server/shared_spaces.h"
#include "server/tenants.h"

namespace kvpool::server {

struct Reply {
  std::vector<std::byte> bytes;
  std::vector<int> descriptors;  // sent along; they stay open for as long as the reply lives
  Descriptor bell;               // what keeps them open where they are not the client's grants:
  std::shared_ptr<ipc::SharedTable> table;  // the pool's lanes may replace a table at any moment
  std::vector<Descriptor> opened;
};

// Takes nothing that a client says for granted. Threads: the session's.
class Grants {
 public:
  // `client`: its number, by which the pool's lanes share out devices. `leases`: what all clients
  // have leased; null: nobody counts. `descriptors`: the tenants' shares; the same.
  Grants(pool::PoolImpl& pool, SharedSpaces& spaces, Access access = {}, std::uint64_t client = 0,
         pool::LeaseBudget* leases = nullptr, DescriptorShares* descriptors = nullptr)
      : pool_(pool),
        shared_(spaces),
        access_(std::move(access)),
        client_(client),
        leases_(pool.memory_bytes() / ipc::kClientLeaseDivisor, leases),
        descriptors_(descriptors) {}

  // `descriptors`: those that came with the question, as many as MayBring allows. kInvalid: it
  // makes no sense. kNoSpace: the client has as many as it may have. kForbidden: it is of no
  // tenant. Else what the pool says.
  Result<Reply> Answer(ipc::MessageType type, std::span<const std::byte> question,
                       std::span<Descriptor> descriptors);
  static bool MayBring(ipc::MessageType type, std::size_t descriptors);

  using Channels = std::map<std::uint32_t, std::unique_ptr<SessionChannel>>;
  const Channels& channels() const { return channels_; }
  // One round of a channel of these.
  SessionChannel::Moved Step(SessionChannel& channel) { return channel.Step(regions_, spaces_); }
  // Waits for what is in flight, then nothing of the client's is touched any more.
  void TakeBack();

 private:
  Result<Reply> OpenSpace(std::span<const std::byte> question);
  Result<Reply> Presence(std::span<const std::byte> question);
  Result<Reply> LentMemory(std::span<const std::byte> question);
  Result<Reply> OpenChannel(std::span<const std::byte> question);
  Result<Reply> CloseChannel(std::span<const std::byte> question);
  Result<Reply> AddRegion(std::span<const std::byte> question, Descriptor& from);
  Result<Reply> AddGpuRegion(std::span<const std::byte> question,
                             std::span<Descriptor> descriptors);
  Result<void> HasRoomFor(std::uint64_t bytes) const;
  Result<Reply> Keep(std::shared_ptr<SessionRegion> region);
  Result<Reply> RemoveRegion(std::span<const std::byte> question);
  Result<Reply> Info() const;
  Result<SharedLimit::Taken> Take(std::size_t descriptors);

  pool::PoolImpl& pool_;
  SharedSpaces& shared_;
  const Access access_;
  const std::uint64_t client_;
  pool::LeaseBudget leases_;
  DescriptorShares* const descriptors_;
  std::set<std::uint32_t> lent_spaces_;  // the pool's ids of those whose memory the client may map
  std::vector<GrantedSpace> spaces_;     // by the client's numbers
  Regions regions_;
  std::uint64_t region_bytes_ = 0;
  std::uint32_t next_number_ = 1;  // of a channel or a region: none is used twice
  Channels channels_;
  std::map<std::uint32_t, SharedLimit::Taken> channel_descriptors_;
};

}  // namespace kvpool::server
