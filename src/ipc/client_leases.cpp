// A client's leases: views of what the daemon lends, for as long as the client does not let go.
#include <algorithm>
#include <cstring>

#include "base/request_access.h"
#include "ipc/client_channel.h"

namespace kvpool::ipc {
namespace {

constexpr std::uint32_t kViewsWithoutRoom = 64;  // of a key without segments
// No bell rings for their ends: while others wait for a slot there have to be ends that it rings
// for.
constexpr std::uint32_t kMostReleases = kMaxDepth / 2;

bool IsLent(const LentMemories& lent, const ViewRecord& view) {
  if (view.memory >= lent.size() || !lent[view.memory]) return false;
  const std::uint64_t bytes = lent[view.memory]->bytes().size();
  return view.offset <= bytes && view.bytes <= bytes - view.offset;
}

// Appends bytes [run.begin, run.end) of the concatenated segments.
void AppendSegments(std::span<const Segment> segments, std::uint64_t begin, std::uint64_t end,
                    std::vector<Segment>& views) {
  std::uint64_t at = 0;
  for (const Segment& segment : segments) {
    const std::uint64_t low = std::max(at, begin);
    const std::uint64_t high = std::min(at + segment.bytes, end);
    if (low < high) views.push_back({segment.data + (low - at), high - low});
    at += segment.bytes;
  }
}

}  // namespace

// Where the daemon lends nothing, views are of the segments.
void ClientChannel::BeginLease(Operation& operation) {
  if (resting_leases_.empty()) resting_leases_.push_back(std::make_unique<Lease>());
  operation.lease = std::move(resting_leases_.back());
  resting_leases_.pop_back();
  *operation.lease = {.attachment = attachments_,
                      .ids = std::move(operation.lease->ids),
                      .views = std::move(operation.lease->views),
                      .lent = client_.LentBy(attached_->connection, operation.request->space)};
  operation.lease->ids.clear();
  operation.lease->views.clear();
}

// A view has a slot of the least size at least. 0: it is no lease.
std::uint32_t ClientChannel::RoomForViews(const Operation& operation, const Part& part) const {
  if (!operation.lease || !operation.lease->lent) return 0;
  std::uint64_t views = 0;
  for (std::uint32_t key = part.first; key < part.first + part.keys; ++key) {
    std::uint64_t bytes = 0;
    for (const Segment& segment : SegmentsOf(operation, key)) bytes += segment.bytes;
    views += bytes == 0 ? kViewsWithoutRoom : (bytes + kMinSlotBytes - 1) / kMinSlotBytes;
  }
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(views, kMaxViews));
}

// What makes no sense is not found.
void ClientChannel::TakeViews(const Part& part, std::uint64_t id) {
  Lease& lease = *part.operation->lease;
  lease.ids.push_back(id);
  auto& get = static_cast<GetRequest&>(*part.operation->request);
  const std::byte* from = arguments_.Address(part.arguments) + part.layout.views;
  const std::byte* const end = from + part.views * sizeof(ViewRecord);
  for (std::uint32_t key = part.first; key < part.first + part.keys; ++key) {
    if (get.result(key) != Status::kOk) continue;
    std::uint64_t left = get.block_bytes(key);
    for (ViewRecord record; left != 0 && from != end; from += sizeof record) {
      std::memcpy(&record, from, sizeof record);
      const bool known = record.memory == ViewRecord::kSegments || IsLent(*lease.lent, record);
      if (!known || record.bytes == 0 || record.bytes > left) break;
      lease.views.push_back({key, record});
      left -= record.bytes;
    }
    if (left != 0) RequestAccess::Results(get)[key] = Status::kNotFound;
  }
}

// Fills `runs_` with the bytes of a key that the daemon wrote to where the part's copies are.
// `view`: where the key's views begin in the lease; then those of the next.
void ClientChannel::FindRuns(const Part& part, std::uint32_t key, std::size_t& view) {
  runs_.clear();
  const auto& get = static_cast<const GetRequest&>(*part.operation->request);
  const bool good = get.result(key) == Status::kOk;
  if (part.views == 0) {
    if (good) runs_.push_back({0, get.block_bytes(key)});
    return;
  }
  std::uint64_t at = 0;
  const auto& views = part.operation->lease->views;
  for (; view < views.size() && views[view].key == key; ++view) {
    const ViewRecord& record = views[view].record;
    if (good && record.memory == ViewRecord::kSegments) runs_.push_back({at, at + record.bytes});
    at += record.bytes;
  }
}

void ClientChannel::FillViews(Operation& operation, GetRequest& get) const {
  auto& views = RequestAccess::Views(get);
  auto& begin = RequestAccess::ViewBegin(get);
  views.clear();
  begin.assign(1, 0);
  Lease* const lease = operation.lease.get();
  const bool leased = lease != nullptr && lease->lent;
  std::size_t next = 0;
  // Parts end in any order.
  if (leased) {
    std::stable_sort(lease->views.begin(), lease->views.end(),
                     [](const auto& a, const auto& b) { return a.key < b.key; });
  }
  for (std::uint32_t key = 0; key < get.keys.size(); ++key) {
    const auto segments = SegmentsOf(operation, key);
    const bool good = get.result(key) == Status::kOk;
    if (good && !leased) AppendSegments(segments, 0, get.block_bytes(key), views);
    std::uint64_t at = 0;
    for (; leased && next < lease->views.size() && lease->views[next].key == key; ++next) {
      const ViewRecord& record = lease->views[next].record;
      if (record.memory == ViewRecord::kSegments) {
        if (good) AppendSegments(segments, at, at + record.bytes, views);
      } else if (good) {
        views.push_back(
            {(*lease->lent)[record.memory]->bytes().data() + record.offset, record.bytes});
      }
      at += record.bytes;
    }
    begin.push_back(views.size());
  }
}

void ClientChannel::KeepLease(Operation& operation, GetRequest& get) {
  if (!operation.lease) return;
  if (operation.lease->ids.empty()) return resting_leases_.push_back(std::move(operation.lease));
  RequestAccess::OperationOf(get) = operation.lease.get();
  leases_.push_back(std::move(operation.lease));
}

void ClientChannel::Release(GetRequest& request) {
  if (releases_in_flight_ == kMostReleases) {
    Collect();
    ShowDone();
  }
  const auto lease = std::find_if(leases_.begin(), leases_.end(), [&](const auto& one) {
    return one.get() == RequestAccess::OperationOf(request);
  });
  if (lease == leases_.end()) return;
  // With a connection that has ended its leases have, too.
  if (attached_ && (*lease)->attachment == attachments_) {
    for (const std::uint64_t id : (*lease)->ids) {
      if (!EndLease(id)) releases_.push_back(id);
    }
  }
  (*lease)->lent.reset();
  resting_leases_.push_back(std::move(*lease));
  leases_.erase(lease);
}

// False: no slot is free for it. Nobody waits for its end.
bool ClientChannel::EndLease(std::uint64_t id) {
  if (releases_in_flight_ == kMostReleases) return false;
  const auto slot = attached_->ring->TakeSlot();
  if (!slot) return false;
  parts_[*slot] = {};
  ++releases_in_flight_;
  const Submission submission{.kind = RequestKind::kRelease, .arguments = id};
  if (attached_->ring->Submit(*slot, submission)) Ring(attached_->bell.get());
  return true;
}

}  // namespace kvpool::ipc
