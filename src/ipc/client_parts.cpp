// The parts that a client's request goes in, and what comes back of each.
#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "base/request_access.h"
#include "ipc/client_channel.h"

namespace kvpool::ipc {
namespace {

constexpr std::uint32_t kMostBackgroundCopies = 2;  // of the four that there is room for

}  // namespace

std::span<const Segment> ClientChannel::SegmentsOf(const Operation& operation,
                                                   std::uint32_t key) const {
  const std::size_t each = operation.segments.size() / operation.request->keys.size();
  return operation.segments.subspan(key * each, each);
}

// False: something has to end first.
bool ClientChannel::StartParts(Operation& operation) {
  while (!operation.whole) {
    if (StartPart(operation)) continue;
    // With nothing in flight there is nothing to wait for.
    const bool hopeless = copies_.unused() && arguments_.unused();
    if (!hopeless) return false;
    Fail(operation, operation.kind == RequestKind::kPut ? Status::kNoSpace : Status::kCancelled);
    ShowDone();
  }
  return true;
}

bool ClientChannel::StartPart(Operation& operation) {
  const auto slot = attached_->ring->TakeSlot();
  if (!slot) return false;
  Part part{.operation = &operation, .first = operation.next_key};
  const std::uint64_t copied = Gather(operation, part);
  const auto keys = operation.request->keys.subspan(part.first, part.keys);
  const auto* put = operation.kind == RequestKind::kPut
                        ? static_cast<const PutRequest*>(operation.request)
                        : nullptr;
  const Key parent = put == nullptr    ? Key()
                     : part.first != 0 ? operation.request->keys[part.first - 1]
                                       : put->parent;
  part.views = RoomForViews(operation, part);
  Arguments arguments{.keys = keys, .parent = parent, .segments = records_, .views = part.views};
  part.layout = arguments.Layout();
  const auto room = arguments_.Take(part.layout.bytes);
  const bool fills_gaps = operation.priority == Priority::kBackground && copied != 0;
  const bool may_copy = !fills_gaps || background_copies_ < kMostBackgroundCopies;
  const auto copies = copied == 0 ? Arena::Piece{} : may_copy ? copies_.Take(copied) : std::nullopt;
  if (!room || !copies) {
    if (room) arguments_.Give(*room);
    if (copies) copies_.Give(*copies);
    attached_->ring->PutBack(*slot);
    return false;
  }
  part.arguments = *room;
  part.copies = *copies;
  PlaceCopies(operation, part);
  arguments.segments = records_;
  arguments.Encode({arguments_.Address(*room), part.layout.bytes});
  operation.next_key += part.keys;
  operation.whole = operation.next_key == operation.request->keys.size();
  ++operation.parts;
  if (fills_gaps) ++background_copies_;
  // What is copied is in place when all of it is, at the end.
  if (operation.kind == RequestKind::kGet && copied == 0) {
    auto& progress = attached_->ring->Progress(*slot);
    progress.store(0, std::memory_order_relaxed);
    RequestAccess::Progress(static_cast<GetRequest&>(*operation.request)).store(&progress);
  }
  Submission submission = Describe(operation, part);
  submission.key_bytes = arguments.KeyBytes();
  parts_[*slot] = part;
  if (attached_->ring->Submit(*slot, submission)) Ring(attached_->bell.get());
  return true;
}

// Nothing: in no region. Memory on a GPU that was prepared with a daemon which has gone since is in
// region 0, which there never is.
std::optional<Place> ClientChannel::PlaceOf(const Segment& segment) const {
  if (!IsOnGpu(segment)) return client_.Find({segment.data, segment.bytes});
  return client_.gpus().Find(segment).value_or(Place{});
}

// Fills `records_` with the segments of the next keys: all of them, or as many as may be copied at
// once. Those that lie in no region have the number ~0 there. Returns the bytes of these.
std::uint64_t ClientChannel::Gather(const Operation& operation, Part& part) {
  records_.clear();
  std::uint64_t copied = 0;
  const auto count = static_cast<std::uint32_t>(operation.request->keys.size());
  for (std::uint32_t key = part.first; key < count; ++key) {
    const std::size_t before = records_.size();
    std::uint64_t bytes = 0;
    for (const Segment& segment : SegmentsOf(operation, key)) {
      const auto place = PlaceOf(segment);
      records_.push_back({.region = place ? place->region : ~std::uint32_t{0},
                          .offset = place ? place->offset : 0,
                          .bytes = segment.bytes});
      if (!place) bytes += (segment.bytes + kIoAlignment - 1) / kIoAlignment * kIoAlignment;
    }
    if (part.keys != 0 && copied + bytes > kCopiedPartBytes) {
      records_.resize(before);
      break;
    }
    copied += bytes;
    ++part.keys;
  }
  return copied;
}

void ClientChannel::PlaceCopies(const Operation& operation, const Part& part) {
  if (part.copies.bytes == 0) return;
  std::uint64_t at = part.copies.offset;
  std::byte* to = copies_.Address(part.copies);
  std::size_t i = 0;
  for (std::uint32_t key = part.first; key < part.first + part.keys; ++key) {
    for (const Segment& segment : SegmentsOf(operation, key)) {
      SegmentRecord& record = records_[i++];
      if (record.region != ~std::uint32_t{0}) continue;
      record.region = copies_.Region(part.copies);
      record.offset = at;
      if (operation.kind == RequestKind::kPut) std::memcpy(to, segment.data, segment.bytes);
      const std::uint64_t taken = (segment.bytes + kIoAlignment - 1) / kIoAlignment * kIoAlignment;
      at += taken;
      to += taken;
    }
  }
}

Submission ClientChannel::Describe(const Operation& operation, const Part& part) const {
  Submission submission{.kind = operation.kind,
                        .space = client_.Find(operation.request->space)->number,
                        .keys = part.keys,
                        .segments = static_cast<std::uint32_t>(records_.size()),
                        .region = arguments_.Region(part.arguments),
                        .arguments = part.arguments.offset};
  if (operation.deadline_ns >= 0) {
    submission.flags |= kHasDeadline;
    const std::int64_t left = operation.deadline_ns - Clock::Monotonic().NowNs();
    submission.deadline_ns = static_cast<std::uint64_t>(std::max<std::int64_t>(left, 0));
  }
  if (operation.priority == Priority::kBackground) submission.flags |= kInBackground;
  if (operation.lease && operation.lease->lent) {
    submission.flags |= kLease;
    submission.views = part.views;
  }
  if (operation.kind != RequestKind::kPut) return submission;
  const auto& put = static_cast<const PutRequest&>(*operation.request);
  if (put.durable) submission.flags |= kDurable;
  if (put.ordinal) {
    submission.flags |= kHasOrdinal;
    submission.ordinal = *put.ordinal + part.first;
  }
  return submission;
}

void ClientChannel::EndPart(const Completion& completion) {
  Part part = std::exchange(parts_[SlotOf(completion.id)], {});
  if (part.operation == nullptr) {
    releases_in_flight_ -= releases_in_flight_ == 0 ? 0 : 1;
    return;
  }
  Operation& operation = *part.operation;
  TakeResults(part, static_cast<Status>(completion.status));
  if (part.views != 0 && static_cast<Status>(completion.status) == Status::kOk) {
    part.first_view = operation.lease->views.size();
    TakeViews(part, completion.id);
  }
  if (operation.kind == RequestKind::kGet && part.copies.bytes != 0) CopyOut(part);
  TakeBack(part);
  FinishIfDone(operation);
}

void ClientChannel::TakeBack(const Part& part) {
  arguments_.Give(part.arguments);
  copies_.Give(part.copies);
  if (part.operation->priority == Priority::kBackground && part.copies.bytes != 0) {
    --background_copies_;
  }
  --part.operation->parts;
}

void ClientChannel::TakeResults(const Part& part, Status whole) {
  Request& request = *part.operation->request;
  auto& results = RequestAccess::Results(request);
  const std::byte* arguments = arguments_.Address(part.arguments);
  const std::size_t count = std::max<std::size_t>(part.keys, results.size() == 1 ? 1 : 0);
  for (std::size_t i = 0; i < count; ++i) {
    results[part.first + i] =
        whole != Status::kOk ? whole : static_cast<Status>(arguments[part.layout.status + i]);
  }
  if (part.operation->kind != RequestKind::kGet || whole != Status::kOk) return;
  auto& block_bytes = RequestAccess::BlockBytes(static_cast<GetRequest&>(request));
  if (part.keys != 0) {
    std::memcpy(block_bytes.data() + part.first, arguments + part.layout.results,
                part.keys * sizeof(std::uint64_t));
  }
}

void ClientChannel::CopyOut(const Part& part) {
  const std::byte* from = copies_.Address(part.copies);
  std::size_t view = part.first_view;
  for (std::uint32_t key = part.first; key < part.first + part.keys; ++key) {
    FindRuns(part, key, view);
    std::uint64_t begin = 0;
    for (const Segment& segment : SegmentsOf(*part.operation, key)) {
      const std::uint64_t end = begin + segment.bytes;
      if (!PlaceOf(segment)) {
        for (const Run& run : runs_) {
          const std::uint64_t low = std::max(begin, run.begin);
          const std::uint64_t high = std::min(end, run.end);
          if (low < high) std::memcpy(segment.data + low - begin, from + low - begin, high - low);
        }
        from += (segment.bytes + kIoAlignment - 1) / kIoAlignment * kIoAlignment;
      }
      begin = end;
    }
  }
}

// What has not been started has that status; the request ends with its last part.
void ClientChannel::Fail(Operation& operation, Status status) {
  auto& results = RequestAccess::Results(*operation.request);
  std::fill(results.begin() + operation.next_key, results.end(), status);
  operation.next_key = static_cast<std::uint32_t>(operation.request->keys.size());
  operation.whole = true;
  FinishIfDone(operation);
}

void ClientChannel::FinishIfDone(Operation& operation) {
  if (!operation.whole || operation.parts != 0) return;
  if (operation.kind == RequestKind::kGet) {
    auto& get = static_cast<GetRequest&>(*operation.request);
    const auto space = client_.Find(get.space);
    RequestAccess::LayersReady(get).store(space ? space->layers : 0, std::memory_order_release);
    RequestAccess::Progress(get).store(nullptr);
    if (get.lease) FillViews(operation, get);
    KeepLease(operation, get);
  }
  ready_.push_back(&operation);
}

}  // namespace kvpool::ipc
