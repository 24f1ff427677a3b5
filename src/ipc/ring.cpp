#include "ipc/ring.h"

#include <cstring>

#include "base/check.h"

namespace kvpool::ipc {
namespace {

template <class Record>
Record* At(std::span<std::byte> memory, std::size_t offset) {
  return reinterpret_cast<Record*>(memory.data() + offset);
}

}  // namespace

DaemonRing::DaemonRing(std::span<std::byte> memory, std::uint32_t depth)
    : header_(*At<ChannelHeader>(memory, 0)),
      depth_(depth),
      submissions_(At<Submission>(memory, ChannelLayout::kSubmissions)),
      completions_(At<Completion>(memory, ChannelLayout(depth).completions)),
      progress_(At<CounterLine>(memory, ChannelLayout(depth).progress)),
      slots_(depth) {
  KVPOOL_CHECK(depth != 0 && depth <= kMaxDepth && (depth & (depth - 1)) == 0);
  KVPOOL_CHECK(memory.size() >= ChannelLayout(depth).bytes);
}

DaemonRing::Took DaemonRing::Take(Submission& submission) {
  const std::uint32_t waiting = header_.submitted.value.load(std::memory_order_acquire) - taken_;
  if (waiting == 0) return Took::kNothing;
  const std::uint32_t left = completed_ - header_.collected.value.load(std::memory_order_acquire);
  if (waiting > depth_ || left > depth_) return Took::kViolation;
  if (in_flight_ + left >= depth_) return Took::kNothing;
  // The one look at shared memory; the client may write there while it is copied.
  std::memcpy(&submission, &submissions_[taken_ & (depth_ - 1)], sizeof submission);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  const std::uint32_t slot = SlotOf(submission.id);
  if (slot >= depth_ || slots_[slot].in_flight || submission.id >> 32 != slots_[slot].uses ||
      submission.kind > RequestKind::kRelease || submission.zero != 0 || submission.zero2 != 0 ||
      (submission.flags & ~(kHasOrdinal | kDurable | kHasDeadline | kInBackground | kLease)) != 0) {
    return Took::kViolation;
  }
  slots_[slot] = {slots_[slot].uses + 1, true};
  ++in_flight_;
  header_.taken.value.store(++taken_, std::memory_order_release);
  return Took::kSubmission;
}

void DaemonRing::Complete(std::uint64_t id, Status status) {
  const std::uint32_t slot = SlotOf(id);
  KVPOOL_CHECK(slot < depth_ && slots_[slot].in_flight && in_flight_ > 0);
  slots_[slot].in_flight = false;
  --in_flight_;
  completions_[completed_ & (depth_ - 1)] = {.id = id,
                                             .status = static_cast<std::uint32_t>(status)};
  header_.completed.value.store(++completed_, std::memory_order_release);
}

std::atomic<std::uint32_t>& DaemonRing::Progress(std::uint64_t id) {
  return progress_[SlotOf(id)].value;
}

bool DaemonRing::GoToSleep() {
  header_.daemon_sleeps.value.store(1);
  const std::uint32_t left = completed_ - header_.collected.value.load();
  return header_.submitted.value.load() == taken_ || in_flight_ + left >= depth_;
}

bool DaemonRing::ClientSleeps() { return header_.client_sleeps.value.exchange(0) != 0; }

ClientRing::ClientRing(std::span<std::byte> memory, std::uint32_t depth)
    : header_(*At<ChannelHeader>(memory, 0)),
      depth_(depth),
      submissions_(At<Submission>(memory, ChannelLayout::kSubmissions)),
      completions_(At<Completion>(memory, ChannelLayout(depth).completions)),
      progress_(At<CounterLine>(memory, ChannelLayout(depth).progress)),
      uses_(depth, 0) {
  KVPOOL_CHECK(memory.size() >= ChannelLayout(depth).bytes);
  for (std::uint32_t slot = depth; slot-- > 0;) free_.push_back(slot);
}

std::optional<std::uint32_t> ClientRing::TakeSlot() {
  if (free_.empty()) return std::nullopt;
  const std::uint32_t slot = free_.back();
  free_.pop_back();
  return slot;
}

bool ClientRing::Submit(std::uint32_t slot, Submission submission) {
  submission.id = std::uint64_t{uses_[slot]++} << 32 | slot;
  progress_[slot].value.store(0, std::memory_order_relaxed);
  submissions_[submitted_ & (depth_ - 1)] = submission;
  header_.submitted.value.store(++submitted_);
  return header_.daemon_sleeps.value.exchange(0) != 0;
}

bool ClientRing::HasCompletion() const {
  return header_.completed.value.load(std::memory_order_acquire) != collected_;
}

std::optional<Completion> ClientRing::Collect() {
  if (!HasCompletion()) return std::nullopt;
  const Completion completion = completions_[collected_ & (depth_ - 1)];
  header_.collected.value.store(++collected_);
  KVPOOL_CHECK(SlotOf(completion.id) < depth_);
  free_.push_back(SlotOf(completion.id));
  return completion;
}

bool ClientRing::GoToSleep() {
  header_.client_sleeps.value.store(1);
  return header_.completed.value.load() == collected_;
}

std::atomic<std::uint32_t>& ClientRing::Progress(std::uint32_t slot) const {
  return progress_[slot].value;
}

}  // namespace kvpool::ipc
