#include "ipc/client_channel.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/clock.h"
#include "base/request_access.h"
#include "ipc/records.h"

namespace kvpool::ipc {
namespace {

constexpr std::int64_t kForeverNs = std::int64_t{1} << 61;
constexpr std::int64_t kSpinNs = 10'000;

std::int64_t NowNs() { return Clock::Monotonic().NowNs(); }

}  // namespace

ClientChannel::Attachment::~Attachment() {
  if (!memory.empty()) ::munmap(memory.data(), memory.size());
}

ClientChannel::ClientChannel(Client& client)
    : client_(client),
      event_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      arguments_(client, {.purpose = RegionPurpose::kArguments,
                          .chunk_bytes = kSlabBytes,
                          .limit_bytes = kMaxArgumentBytes}),
      copies_(client, {.purpose = RegionPurpose::kData,
                       .chunk_bytes = kCopiedPartBytes,
                       .limit_bytes = 4 * kCopiedPartBytes}),
      parts_(kMaxDepth) {}

Result<std::unique_ptr<Channel>> ClientChannel::Open(Client& client) {
  std::unique_ptr<ClientChannel> channel(new ClientChannel(client));
  if (!channel->event_fd_) {
    return kvpool::Fail(Status::kIoError,
                        "no eventfd could be made: raise the open file limit (ulimit -n)", errno);
  }
  if (auto attached = channel->Attach(); !attached) return tl::unexpected(attached.error());
  return std::unique_ptr<Channel>(std::move(channel));
}

ClientChannel::~ClientChannel() {
  Request* done[16];
  while (in_flight_ != 0) {
    Wait(std::chrono::seconds(1));
    Poll(done);
  }
  if (!attached_) return;
  client_.bells().Remove(attached_->bell.get());
  const Named question{.id = attached_->number};
  (void)attached_->connection->Ask(MessageType::kCloseChannel, BytesOf(question));
}

Result<void> ClientChannel::Attach() {
  auto connection = client_.connection();
  if (!connection) return kvpool::Fail(Status::kCancelled, "the daemon has gone: start it again");
  const ChannelQuestion question{.depth = kMaxDepth};
  auto answer = connection->Ask(MessageType::kOpenChannel, BytesOf(question));
  if (!answer) return tl::unexpected(answer.error());
  const auto record = RecordIn<ChannelAnswer>(answer->bytes);
  if (!record || answer->descriptors.size() != 2 || record->depth != kMaxDepth) {
    return kvpool::Fail(Status::kInvalid,
                        "the daemon's answer makes no sense: use the same kvpool for both");
  }
  const std::size_t bytes = ChannelLayout(kMaxDepth).bytes;
  void* memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, answer->descriptors[0].get(), 0);
  if (memory == MAP_FAILED) {
    return kvpool::Fail(Status::kNoSpace, "a channel's memory cannot be mapped: free some", errno);
  }
  auto attachment = std::make_unique<Attachment>();
  attachment->connection = std::move(connection);
  attachment->number = record->channel;
  attachment->memory = {static_cast<std::byte*>(memory), bytes};
  attachment->bell = std::move(answer->descriptors[1]);
  attachment->ring = std::make_unique<ClientRing>(attachment->memory, kMaxDepth);
  attachment->ring->GoToSleep();
  attached_ = std::move(attachment);
  ++attachments_;
  if (event_fd_taken_) client_.bells().Add(attached_->bell.get(), event_fd_.get());
  return {};
}

// What the daemon had of the channel has gone with it.
void ClientChannel::Detach() {
  while (const auto completion = attached_->ring->Collect()) EndPart(*completion);
  for (auto& waiting : waiting_) {
    for (Operation* operation : std::exchange(waiting, {})) Fail(*operation, Status::kCancelled);
  }
  for (Part& one : parts_) {
    if (one.operation == nullptr) continue;
    const Part part = std::exchange(one, {});
    TakeResults(part, Status::kCancelled);
    TakeBack(part);
    FinishIfDone(*part.operation);
  }
  client_.bells().Remove(attached_->bell.get());
  attached_.reset();
  releases_.clear();
  releases_in_flight_ = 0;
  ShowDone();
}

void ClientChannel::DetachIfEnded() {
  if (attached_ && attached_->connection->ended()) Detach();
}

ClientChannel::Operation& ClientChannel::Begin(RequestKind kind, Request& request,
                                               std::span<const Segment> segments,
                                               Priority priority) {
  if (resting_.empty()) {
    operations_.push_back(std::make_unique<Operation>());
    resting_.push_back(operations_.back().get());
  }
  Operation& operation = *resting_.back();
  resting_.pop_back();
  operation = {.request = &request, .kind = kind, .segments = segments, .priority = priority};
  RequestAccess::OperationOf(request) = nullptr;
  if (request.deadline) {
    const auto ms = std::clamp<std::int64_t>(request.deadline->count(), 0, kForeverNs / 1'000'000);
    operation.deadline_ns = NowNs() + ms * 1'000'000;
  }
  const bool one = kind == RequestKind::kFlush && request.keys.empty();
  RequestAccess::Results(request).assign(one ? 1 : request.keys.size(), Status::kOk);
  ++in_flight_;
  return operation;
}

Status ClientChannel::Start(RequestKind kind, Request& request, std::span<const Segment> segments,
                            Priority priority) {
  if (in_flight_ >= kMaxRequestsPerChannel) return Status::kBusy;
  if (request.keys.size() > kMaxBatchKeys || !client_.Find(request.space)) return Status::kInvalid;
  if (request.keys.empty() ? !segments.empty() : segments.size() % request.keys.size() != 0) {
    return Status::kInvalid;
  }
  if (segments.size() > kMaxSegments) return Status::kInvalid;
  DetachIfEnded();
  bool reachable = attached_ != nullptr || Attach().has_value();
  if (std::any_of(segments.begin(), segments.end(), IsOnGpu)) {
    if (kind == RequestKind::kGet && static_cast<GetRequest&>(request).lease) {
      return Status::kInvalid;
    }
    const Status prepared =
        reachable ? client_.gpus().Prepare(attached_->connection, segments) : Status::kCancelled;
    if (prepared != Status::kOk && prepared != Status::kCancelled) return prepared;
    reachable = prepared == Status::kOk;
  }
  Operation& operation = Begin(kind, request, segments, priority);
  if (!reachable) {
    Fail(operation, Status::kCancelled);
    ShowDone();
  } else {
    if (kind == RequestKind::kGet && static_cast<GetRequest&>(request).lease) BeginLease(operation);
    waiting_[static_cast<std::size_t>(priority)].push_back(&operation);
    StartWaiting();
  }
  return Status::kOk;
}

Status ClientChannel::Submit(PutRequest& request) {
  if (!request.keys.empty() && request.from.empty()) return Status::kInvalid;
  return Start(RequestKind::kPut, request, request.from, request.priority);
}

Status ClientChannel::Submit(GetRequest& request) {
  RequestAccess::LayersReady(request).store(0, std::memory_order_relaxed);
  RequestAccess::BlockBytes(request).assign(request.keys.size(), 0);
  return Start(RequestKind::kGet, request, request.into, request.priority);
}

Status ClientChannel::Submit(DropRequest& request) {
  return Start(RequestKind::kDrop, request, {});
}

Status ClientChannel::Submit(FlushRequest& request) {
  return Start(RequestKind::kFlush, request, {});
}

void ClientChannel::Collect() {
  DetachIfEnded();
  if (!attached_) return;
  while (const auto completion = attached_->ring->Collect()) EndPart(*completion);
  StartWaiting();
}

void ClientChannel::StartWaiting() {
  while (!releases_.empty() && EndLease(releases_.back())) releases_.pop_back();
  for (auto& waiting : waiting_) {
    while (!waiting.empty() && StartParts(*waiting.front())) waiting.pop_front();
    if (!waiting.empty()) return;
  }
}

// The event shall be readable for as long as Poll has something.
void ClientChannel::ShowDone() {
  if (ready_.empty() || local_called_) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event_fd_.get(), &one, sizeof one);
  local_called_ = true;
}

// Before the ring is looked at for the last time, so that no call is lost.
void ClientChannel::TakeCalls() {
  if (!std::exchange(local_called_, false) && !event_fd_taken_) return;
  std::uint64_t calls = 0;
  [[maybe_unused]] const ssize_t got = ::read(event_fd_.get(), &calls, sizeof calls);
}

std::size_t ClientChannel::Poll(std::span<Request*> done) {
  Collect();
  std::size_t count = 0;
  for (; count < done.size() && !ready_.empty(); ++count) {
    done[count] = ready_.front()->request;
    resting_.push_back(ready_.front());
    ready_.pop_front();
    --in_flight_;
  }
  if (!ready_.empty()) {
    ShowDone();
    return count;
  }
  TakeCalls();
  if (!attached_) return count;
  // A bell whose other end has closed stays readable until the watcher has seen it, too.
  (void)Hush(attached_->bell.get());
  while (attached_ && !attached_->ring->GoToSleep()) Collect();
  ShowDone();
  return count;
}

int ClientChannel::event_fd() const {
  if (!std::exchange(event_fd_taken_, true) && attached_) {
    client_.bells().Add(attached_->bell.get(), event_fd_.get());
  }
  return event_fd_.get();
}

bool ClientChannel::Wait(std::chrono::nanoseconds timeout) {
  const std::int64_t begin = NowNs();
  const std::int64_t until = begin + std::clamp<std::int64_t>(timeout.count(), 0, kForeverNs);
  for (;;) {
    Collect();
    if (!ready_.empty()) {
      ShowDone();
      return true;
    }
    const std::int64_t now = NowNs();
    if (now >= until) return false;
    if (attached_ && now < begin + kSpinNs) continue;
    TakeCalls();
    if (attached_ && Hush(attached_->bell.get()) && !attached_->ring->GoToSleep()) continue;
    pollfd events[2]{{event_fd_.get(), POLLIN, 0}, {-1, POLLIN, 0}};
    if (attached_) events[1].fd = attached_->bell.get();
    // Of a daemon that has gone only the watcher says for certain that it has.
    const std::int64_t longest = std::min<std::int64_t>(until - now, 100'000'000);
    const timespec wait{longest / 1'000'000'000, longest % 1'000'000'000};
    ::ppoll(events, 2, &wait, nullptr);
  }
}

}  // namespace kvpool::ipc
