// ClientChannel: a channel whose requests a daemon carries out.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ipc/arena.h"
#include "ipc/arguments.h"
#include "ipc/client.h"
#include "ipc/ring.h"
#include "kvpool/channel.h"

namespace kvpool::ipc {

inline constexpr std::uint64_t kCopiedPartBytes = 32 * kMiB;

// A request goes as one submission where its bytes lie in regions of the client's. Other bytes are
// copied through a region, some blocks at a time: then it is several, one after the other.
//
// When the daemon goes, requests in flight end with kCancelled; so do those that are submitted
// until it is back.
// Threads: the channel's own.
class ClientChannel final : public Channel {
 public:
  static Result<std::unique_ptr<Channel>> Open(Client& client);
  ~ClientChannel() override;

  Status Submit(PutRequest& request) override;
  Status Submit(GetRequest& request) override;
  Status Submit(DropRequest& request) override;
  Status Submit(FlushRequest& request) override;
  std::size_t Poll(std::span<Request*> done) override;
  bool Wait(std::chrono::nanoseconds timeout) override;
  int event_fd() const override;
  void Release(GetRequest& request) override;

 private:
  // Of a get: what the daemon holds for it. Reused.
  struct Lease {
    struct View {
      std::uint32_t key = 0;
      ViewRecord record;
    };
    std::uint64_t attachment = 0;              // whose ids they are
    std::vector<std::uint64_t> ids;            // of the parts that were leased
    std::vector<View> views;                   // a key's in order
    std::shared_ptr<const LentMemories> lent;  // where they point; stays mapped until Release
  };
  struct Operation {
    Request* request = nullptr;
    RequestKind kind = RequestKind::kGet;
    std::span<const Segment> segments;
    std::uint32_t next_key = 0;  // of the next part
    std::uint32_t parts = 0;     // in flight
    Priority priority = Priority::kForeground;
    bool whole = false;  // it has no keys, or all of them are under way or ended
    std::unique_ptr<Lease> lease = nullptr;
    std::int64_t deadline_ns = -1;
  };
  struct Run {  // of a block's bytes
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  struct Part {  // by slot
    Operation* operation = nullptr;
    std::uint32_t first = 0;
    std::uint32_t keys = 0;
    ArgumentsLayout layout{0, 0, 0};
    std::uint32_t views = 0;     // that there is room for
    std::size_t first_view = 0;  // of its views in the lease
    Arena::Piece arguments;
    Arena::Piece copies;  // of what lies in no region
  };
  // What the daemon has of this channel.
  struct Attachment {
    std::shared_ptr<Connection> connection;
    std::uint32_t number = 0;
    std::span<std::byte> memory;
    Descriptor bell;
    std::unique_ptr<ClientRing> ring;
    ~Attachment();
  };

  explicit ClientChannel(Client& client);
  Result<void> Attach();
  void Detach();
  void DetachIfEnded();
  Status Start(RequestKind kind, Request& request, std::span<const Segment> segments,
               Priority priority = Priority::kForeground);
  Operation& Begin(RequestKind kind, Request& request, std::span<const Segment> segments,
                   Priority priority);
  bool StartParts(Operation& operation);
  bool StartPart(Operation& operation);
  std::optional<Place> PlaceOf(const Segment& segment) const;
  std::uint64_t Gather(const Operation& operation, Part& part);
  void PlaceCopies(const Operation& operation, const Part& part);
  Submission Describe(const Operation& operation, const Part& part) const;
  void EndPart(const Completion& completion);
  void TakeBack(const Part& part);
  void StartWaiting();
  void TakeResults(const Part& part, Status whole);
  void CopyOut(const Part& part);
  void FindRuns(const Part& part, std::uint32_t key, std::size_t& view);
  void Fail(Operation& operation, Status status);
  void FinishIfDone(Operation& operation);
  void BeginLease(Operation& operation);
  std::uint32_t RoomForViews(const Operation& operation, const Part& part) const;
  void TakeViews(const Part& part, std::uint64_t id);
  void FillViews(Operation& operation, GetRequest& get) const;
  void KeepLease(Operation& operation, GetRequest& get);
  bool EndLease(std::uint64_t id);
  void Collect();
  void ShowDone();
  void TakeCalls();
  std::span<const Segment> SegmentsOf(const Operation& operation, std::uint32_t key) const;

  Client& client_;
  Descriptor event_fd_;
  mutable bool event_fd_taken_ = false;  // the client's watcher writes it when the bell rings
  bool local_called_ = false;            // it was written: something is done here
  std::unique_ptr<Attachment> attached_;
  Arena arguments_;
  Arena copies_;
  std::vector<Part> parts_;
  std::vector<std::unique_ptr<Operation>> operations_;
  std::vector<Operation*> resting_;
  std::array<std::deque<Operation*>, 2> waiting_;  // for room, in order; by priority
  std::uint32_t background_copies_ = 0;            // parts in flight: they leave room for others
  std::deque<Operation*> ready_;
  std::size_t in_flight_ = 0;
  std::vector<SegmentRecord> records_;  // scratch
  std::vector<Run> runs_;               // scratch
  std::uint64_t attachments_ = 0;       // that there were: the number of the last
  std::vector<std::unique_ptr<Lease>> leases_;
  std::vector<std::unique_ptr<Lease>> resting_leases_;
  std::vector<std::uint64_t> releases_;  // that found no slot yet
  std::uint32_t releases_in_flight_ = 0;
};

}  // namespace kvpool::ipc
