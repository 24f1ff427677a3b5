#include "server/session_channel.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/request_access.h"
#include "ipc/wire.h"

namespace kvpool::server {

namespace {

// A flush of all is of no space.
bool Changes(const ipc::Submission& submission) {
  return submission.kind != ipc::RequestKind::kGet &&
         (submission.kind != ipc::RequestKind::kFlush || submission.keys != 0);
}

// The views of a key that is ok: what lies in none of `lent` lies in the segments.
void AddViews(const GetRequest& get, std::uint32_t key,
              std::span<const mem::LentMemory* const> lent, std::vector<ipc::ViewRecord>& views) {
  if (!get.lease) {
    views.push_back({.memory = ipc::ViewRecord::kSegments, .bytes = get.block_bytes(key)});
    return;
  }
  for (const Segment& view : get.views(key)) {
    ipc::ViewRecord record{.memory = ipc::ViewRecord::kSegments, .bytes = view.bytes};
    for (std::uint32_t number = 0; number < lent.size(); ++number) {
      if (lent[number] == nullptr) continue;
      const auto memory = lent[number]->bytes();
      const auto offset = static_cast<std::uint64_t>(view.data - memory.data());
      if (offset >= memory.size()) continue;
      record.memory = number;
      record.offset = offset;
    }
    const bool continues = !views.empty() && record.memory == ipc::ViewRecord::kSegments &&
                           views.back().memory == record.memory;
    if (continues) {
      views.back().bytes += record.bytes;
    } else {
      views.push_back(record);
    }
  }
}

}  // namespace

// A submission that was taken. Reused.
struct SessionChannel::Work {
  ipc::Submission submission;
  ipc::DecodedArguments arguments;
  std::vector<Segment> segments;
  std::shared_ptr<SessionRegion> arguments_region;
  std::vector<std::shared_ptr<SessionRegion>> regions;  // that the segments lie in
  std::vector<ipc::ViewRecord> views;                   // scratch
  GetRequest get;
  PutRequest put;
  DropRequest drop;
  FlushRequest flush;

  Request& request() {
    switch (submission.kind) {
      case ipc::RequestKind::kGet:
        return get;
      case ipc::RequestKind::kPut:
        return put;
      case ipc::RequestKind::kDrop:
        return drop;
      case ipc::RequestKind::kFlush:
      case ipc::RequestKind::kRelease:
        break;
    }
    return flush;
  }
};

SessionChannel::SessionChannel(pool::PoolImpl& pool) : pool_(pool) {}

Result<std::unique_ptr<SessionChannel>> SessionChannel::Open(pool::PoolImpl& pool,
                                                             std::uint32_t depth,
                                                             const ChannelOptions& options,
                                                             pool::LeaseBudget& leases) {
  std::unique_ptr<SessionChannel> made(new SessionChannel(pool));
  const std::size_t bytes = ipc::ChannelLayout(depth).bytes;
  made->memory_fd_ = Descriptor(::memfd_create("kvpool-channel", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const int fd = made->memory_fd_.get();
  void* memory = MAP_FAILED;
  if (fd >= 0 && ::ftruncate(fd, static_cast<off_t>(bytes)) == 0 &&
      ::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
    memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  if (memory != MAP_FAILED) made->memory_ = {static_cast<std::byte*>(memory), bytes};
  int pair[2] = {-1, -1};
  if (memory == MAP_FAILED || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return Fail(Status::kNoSpace,
                "the daemon cannot make a channel: raise its limit on open files (LimitNOFILE=)",
                errno);
  }
  made->bell_ = Descriptor(pair[0]);
  made->client_bell_ = Descriptor(pair[1]);
  made->ring_ = std::make_unique<ipc::DaemonRing>(made->memory_, depth);
  auto channel = pool.OpenChannel(options, &leases);
  if (!channel) return tl::unexpected(channel.error());
  made->channel_ = std::move(*channel);
  return made;
}

SessionChannel::~SessionChannel() {
  channel_.reset();
  if (!memory_.empty()) ::munmap(memory_.data(), memory_.size());
}

SessionChannel::Moved SessionChannel::Step(const Regions& regions,
                                           const std::vector<GrantedSpace>& spaces) {
  bool moved = Collect();
  constexpr int kAtOnce = 16;
  for (int i = 0; i < kAtOnce && !closed_; ++i) {
    const Moved took = TakeOne(regions, spaces);
    if (took == Moved::kViolation) return took;
    if (took == Moved::kNothing) break;
    moved = true;
  }
  if (call_ && ring_->ClientSleeps()) ipc::Ring(bell_.get());
  call_ = false;
  return moved ? Moved::kSomething : Moved::kNothing;
}

bool SessionChannel::GoToSleep() {
  (void)ipc::Hush(bell_.get());
  return closed_ || argument_bytes_ > ipc::kMaxArgumentBytes || ring_->GoToSleep();
}

bool SessionChannel::Collect() {
  Request* done[16];
  const std::size_t count = channel_->Poll(done);
  for (std::size_t i = 0; i < count; ++i) {
    Work& work = *static_cast<Work*>(done[i]->user);
    WriteResults(work);
    End(work, Status::kOk);
  }
  return count != 0;
}

SessionChannel::Moved SessionChannel::TakeOne(const Regions& regions,
                                              const std::vector<GrantedSpace>& spaces) {
  if (argument_bytes_ > ipc::kMaxArgumentBytes) return Moved::kNothing;
  if (resting_.empty()) {
    work_.push_back(std::make_unique<Work>());
    resting_.push_back(work_.back().get());
  }
  Work& work = *resting_.back();
  switch (ring_->Take(work.submission)) {
    case ipc::DaemonRing::Took::kNothing:
      return Moved::kNothing;
    case ipc::DaemonRing::Took::kViolation:
      return Moved::kViolation;
    case ipc::DaemonRing::Took::kSubmission:
      break;
  }
  resting_.pop_back();
  ++in_flight_;
  if (work.submission.kind == ipc::RequestKind::kRelease) {
    EndLease(work.submission.arguments);
    End(work, Status::kOk);
    return Moved::kSomething;
  }
  const Status status = Begin(work, regions, spaces);
  if (status != Status::kOk) End(work, status);
  return Moved::kSomething;
}

Status SessionChannel::Begin(Work& work, const Regions& regions,
                             const std::vector<GrantedSpace>& spaces) {
  const ipc::Submission& submission = work.submission;
  const auto region = regions.find(submission.region);
  if (submission.space >= spaces.size() || region == regions.end()) return Status::kInvalid;
  if (region->second->kind() != MemoryKind::kHost) return Status::kInvalid;
  const auto memory = region->second->memory->bytes();
  if (!spaces[submission.space].writable && Changes(submission)) return Status::kForbidden;
  if (!work.arguments.Decode(submission, memory)) return Status::kInvalid;
  argument_bytes_ += work.arguments.bytes();
  work.arguments_region = region->second;
  if (!TakeSegments(work, regions)) return Status::kInvalid;
  return Submit(work, spaces[submission.space].space);
}

bool SessionChannel::TakeSegments(Work& work, const Regions& regions) {
  work.segments.clear();
  std::uint32_t last = 0;
  SessionRegion* found = nullptr;
  for (const ipc::SegmentRecord& record : work.arguments.segments()) {
    if (record.bytes == 0) {
      work.segments.push_back({});
      continue;
    }
    if (found == nullptr || record.region != last) {
      const auto region = regions.find(record.region);
      if (region == regions.end() || !region->second->IsData()) return false;
      found = region->second.get();
      last = record.region;
      if (std::find(work.regions.begin(), work.regions.end(), region->second) ==
          work.regions.end()) {
        work.regions.push_back(region->second);
      }
    }
    const auto memory = found->bytes();
    if (record.offset > memory.size() || record.bytes > memory.size() - record.offset) {
      return false;
    }
    work.segments.push_back({memory.data() + record.offset, record.bytes, found->kind()});
  }
  return true;
}

Status SessionChannel::Submit(Work& work, Space space) {
  const ipc::Submission& submission = work.submission;
  Request& request = work.request();
  request.space = space;
  request.keys = work.arguments.keys();
  request.user = &work;
  request.deadline.reset();
  if ((submission.flags & ipc::kHasDeadline) != 0) {
    constexpr std::uint64_t kDayNs = 86'400'000'000'000;
    request.deadline = std::chrono::ceil<std::chrono::milliseconds>(
        std::chrono::nanoseconds(std::min(submission.deadline_ns, kDayNs)));
  }
  const Priority priority =
      (submission.flags & ipc::kInBackground) != 0 ? Priority::kBackground : Priority::kForeground;
  switch (submission.kind) {
    case ipc::RequestKind::kGet:
      work.get.into = work.segments;
      work.get.priority = priority;
      work.get.lease = MayLease(submission);
      if (work.get.lease) lease_keys_ += submission.keys;
      RequestAccess::Mirror(work.get) = &ring_->Progress(submission.id);
      return channel_->Submit(work.get);
    case ipc::RequestKind::kPut:
      work.put.from = work.segments;
      work.put.priority = priority;
      work.put.parent = work.arguments.parent();
      work.put.durable = (submission.flags & ipc::kDurable) != 0;
      work.put.ordinal.reset();
      if ((submission.flags & ipc::kHasOrdinal) != 0) work.put.ordinal = submission.ordinal;
      return channel_->Submit(work.put);
    case ipc::RequestKind::kDrop:
      return channel_->Submit(work.drop);
    case ipc::RequestKind::kFlush:
    case ipc::RequestKind::kRelease:
      break;
  }
  return channel_->Submit(work.flush);
}

// The room is there by Decode.
void SessionChannel::WriteResults(Work& work) {
  const ipc::Submission& submission = work.submission;
  const ipc::ArgumentsLayout layout(submission.keys, submission.segments, submission.key_bytes,
                                    submission.views);
  std::byte* to = work.arguments_region->memory->bytes().data() + submission.arguments;
  if (submission.kind == ipc::RequestKind::kGet) {
    for (std::uint32_t key = 0; key < submission.keys; ++key) {
      const std::uint64_t bytes = work.get.block_bytes(key);
      std::memcpy(to + layout.results + key * sizeof bytes, &bytes, sizeof bytes);
    }
    if ((submission.flags & ipc::kLease) != 0) WriteViews(work, to + layout.views);
  }
  const auto results = work.request().results();
  // A result a key, and one without keys.
  const std::size_t count = std::min<std::size_t>(results.size(), std::max(submission.keys, 1u));
  std::memcpy(to + layout.status, results.data(), count);
}

// What finds no room is not told, and its key has failed.
void SessionChannel::WriteViews(Work& work, std::byte* to) {
  const auto lent = pool_.Lent(work.get.space);
  std::uint32_t room = work.submission.views;
  bool holds = false;
  for (std::uint32_t key = 0; key < work.submission.keys; ++key) {
    if (work.get.result(key) != Status::kOk) continue;
    work.views.clear();
    AddViews(work.get, key, lent, work.views);
    if (work.views.size() > room) {
      RequestAccess::Results(work.get)[key] = Status::kInvalid;
      continue;
    }
    room -= static_cast<std::uint32_t>(work.views.size());
    const auto bytes = std::as_bytes(std::span(work.views));
    std::memcpy(to, bytes.data(), bytes.size());
    to += bytes.size();
    holds |= std::any_of(work.views.begin(), work.views.end(), [](const ipc::ViewRecord& view) {
      return view.memory != ipc::ViewRecord::kSegments;
    });
  }
  if (!work.get.lease) return;
  if (holds) {
    leases_[work.submission.id] = &work;
  } else {
    channel_->Release(work.get);
  }
}

// What is kept for a lease counts, too, beside the blocks.
bool SessionChannel::MayLease(const ipc::Submission& submission) const {
  return (submission.flags & ipc::kLease) != 0 && leases_.size() < ipc::kMaxChannelLeases &&
         lease_keys_ + submission.keys <= ipc::kMaxChannelLeaseKeys;
}

// Of one that has none, nothing.
void SessionChannel::EndLease(std::uint64_t id) {
  const auto lease = leases_.find(id);
  if (lease == leases_.end()) return;
  channel_->Release(lease->second->get);
  lease->second->get.lease = false;
  lease_keys_ -= lease->second->submission.keys;
  resting_.push_back(lease->second);
  leases_.erase(lease);
}

void SessionChannel::End(Work& work, Status status) {
  argument_bytes_ -= work.arguments_region ? work.arguments.bytes() : 0;
  work.arguments_region.reset();
  work.regions.clear();
  ring_->Complete(work.submission.id, status);
  call_ |= work.submission.kind != ipc::RequestKind::kRelease;  // nobody waits for its end
  --in_flight_;
  if (leases_.contains(work.submission.id)) return;
  if (work.submission.kind == ipc::RequestKind::kGet && std::exchange(work.get.lease, false)) {
    lease_keys_ -= work.submission.keys;
  }
  resting_.push_back(&work);
}

}  // namespace kvpool::server
