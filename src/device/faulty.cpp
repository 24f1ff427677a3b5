#include "device/faulty.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"
#include "device/io_check.h"
#include "device/io_list.h"
#include "device/late_hands.h"

namespace kvpool::device {
namespace {

constexpr std::size_t kMaxHeld = 128;  // Ios that one queue has taken and not handed back

// What all queues of a device share.
struct Common {
  explicit Common(FaultScript script) : plan(std::move(script)) {}

  Fault Next(Op op, std::uint64_t& random) {
    MutexLock lock(mutex);
    return plan.Next(op, random);
  }

  Mutex mutex;
  FaultPlan plan KVPOOL_GUARDED_BY(mutex);
  std::atomic<bool> gone{false};
};

// An Io that goes to the inner queue in the place of one that is struck.
struct StandIn {
  Io io;
  Io* original = nullptr;
  bool flip_when_read = false;
  std::unique_ptr<LateHands> hands;  // of a read that lands late
  std::int64_t due_ns = 0;           // when it does; 0: it is not late
  std::uint64_t random = 0;
  std::vector<iovec> segments;
  std::unique_ptr<void, decltype(&std::free)> memory{nullptr, &std::free};
};

void FlipBit(std::span<const iovec> segments, std::uint32_t bytes, std::uint64_t random) {
  std::uint64_t at = random / 8 % bytes;
  for (const iovec& segment : segments) {
    if (at < segment.iov_len) {
      static_cast<std::byte*>(segment.iov_base)[at] ^= std::byte{1} << (random % 8);
      return;
    }
    at -= segment.iov_len;
  }
}

// Memory of the stand-in's own, in the place of its owner's.
std::byte* TakeMemory(std::uint32_t bytes, StandIn& stand_in) {
  stand_in.memory.reset(std::aligned_alloc(4096, (bytes + 4095u) / 4096 * 4096));
  KVPOOL_CHECK(stand_in.memory != nullptr);
  stand_in.segments = {{stand_in.memory.get(), bytes}};
  return static_cast<std::byte*>(stand_in.memory.get());
}

// The bytes of a write, copied, since its owner's must stay as they are.
void Copy(const Io& io, StandIn& stand_in) {
  std::byte* at = TakeMemory(io.bytes, stand_in);
  for (const iovec& segment : io.segments) {
    std::memcpy(at, segment.iov_base, segment.iov_len);
    at += segment.iov_len;
  }
}

// A read that comes late: into the pages that are held, or to the addresses where none can be.
bool Land(const StandIn& stand_in) {
  const auto* bytes = static_cast<const std::byte*>(stand_in.memory.get());
  const Io& io = *stand_in.original;
  if (stand_in.hands != nullptr) return stand_in.hands->Land({bytes, io.bytes});
  for (const iovec& segment : io.segments) {
    std::memcpy(segment.iov_base, bytes, segment.iov_len);
    bytes += segment.iov_len;
  }
  return true;
}

void KeepPrefix(std::uint32_t bytes, StandIn& stand_in) {
  stand_in.io.bytes = bytes;
  std::size_t count = 0;
  for (std::size_t left = bytes; left > 0; ++count) {
    auto& length = stand_in.segments[count].iov_len;
    length = std::min(length, left);
    left -= length;
  }
  stand_in.segments.resize(count);
}

class FaultyQueue final : public Queue {
 public:
  FaultyQueue(std::unique_ptr<Queue> inner, const Traits& traits, Common& common,
              const Clock& clock, int event_fd)
      : inner_(std::move(inner)),
        traits_(traits),
        common_(common),
        clock_(clock),
        event_fd_(event_fd) {}
  ~FaultyQueue() override { KVPOOL_CHECK(held_ == 0); }

  std::size_t Submit(std::span<Io* const> ios) override {
    ios = ios.first(std::min(ios.size(), kMaxHeld - held_));
    for (Io* io : ios) Take(*io);
    held_ += ios.size();
    PassOn();
    return ios.size();
  }

  std::size_t Poll(std::span<Io*> done) override {
    std::array<Io*, 32> finished;
    std::size_t got;
    do {
      got = inner_->Poll(finished);
      for (Io* io : std::span(finished).first(got)) Finish(*io);
      PassOn();
    } while (got > 0);
    if (!late_.empty()) LandDue();
    const std::size_t count = done_.PopInto(done);
    held_ -= count;
    return count;
  }

  void Cancel(Io& io) override;
  bool HoldsPages(const Io& io) const override;
  std::int64_t NextPollNs() const override {
    std::int64_t next = inner_->NextPollNs();
    for (const auto& late : late_) next = std::min(next, late->due_ns);
    return next;
  }

 private:
  void Take(Io& io);
  void Hold(Io& io, std::uint64_t ms);
  void LandDue();
  const StandIn* StandInOf(const Io& io) const;
  void Replace(Io& io, Fault fault, std::uint64_t random);
  void PassOn();
  void Finish(Io& io);
  void Done(Io& io, Status status) {
    io.status = status;
    done_.Push(io);
    Notify(event_fd_);
  }

  std::unique_ptr<Queue> inner_;
  const Traits& traits_;
  Common& common_;
  const Clock& clock_;
  const int event_fd_;
  std::size_t held_ = 0;
  IoList waiting_;  // decided, and the inner queue was full
  IoList hung_;
  IoList done_;
  std::unordered_map<const Io*, std::unique_ptr<StandIn>> stand_ins_;  // by their own Io
  std::vector<const Io*> stuck_;                                       // held for ever
  std::vector<std::unique_ptr<StandIn>> late_;                         // to go on at their due_ns
};

void FaultyQueue::Take(Io& io) {
  if (!IsValid(io, traits_)) return Done(io, Status::kInvalid);
  if (common_.gone) return Done(io, Status::kIoError);
  std::uint64_t random = 0;
  const Fault fault = common_.Next(io.op, random);
  switch (fault) {
    case Fault::kNone:
      waiting_.Push(io);
      return;
    case Fault::kHang:
      hung_.Push(io);
      return;
    case Fault::kHold:
      Hold(io, random);
      return;
    case Fault::kDisappear:
      common_.gone = true;
      [[fallthrough]];
    case Fault::kError:
      Done(io, Status::kIoError);
      return;
    case Fault::kShort:
    case Fault::kFlip:
      Replace(io, fault, random);
      return;
  }
}

void FaultyQueue::Replace(Io& io, Fault fault, std::uint64_t random) {
  auto stand_in = std::make_unique<StandIn>();
  stand_in->io = io;
  stand_in->original = &io;
  stand_in->random = random;
  stand_in->segments.assign(io.segments.begin(), io.segments.end());
  if (fault == Fault::kShort) {
    const std::uint32_t prefix = io.bytes / 2 / traits_.alignment * traits_.alignment;
    if (prefix == 0) return Done(io, Status::kOk);
    KeepPrefix(prefix, *stand_in);
  } else if (io.op == Op::kWrite) {
    Copy(io, *stand_in);
    FlipBit(stand_in->segments, io.bytes, stand_in->random);
  } else {
    stand_in->flip_when_read = true;
  }
  stand_in->io.segments = stand_in->segments;
  Io& replacement = stand_in->io;
  stand_ins_.emplace(&replacement, std::move(stand_in));
  waiting_.Push(replacement);
}

// A read takes its bytes from the device at once, and they land late; a write keeps its bytes, and
// they reach the device late.
void FaultyQueue::Hold(Io& io, std::uint64_t ms) {
  if (ms == std::numeric_limits<std::uint64_t>::max()) return stuck_.push_back(&io);
  auto stand_in = std::make_unique<StandIn>();
  stand_in->io = io;
  stand_in->original = &io;
  stand_in->due_ns = clock_.NowNs() + static_cast<std::int64_t>(ms) * 1'000'000;
  if (io.op != Op::kRead) {
    if (io.op == Op::kWrite) Copy(io, *stand_in);
    stand_in->io.segments = stand_in->segments;
    late_.push_back(std::move(stand_in));
    return;
  }
  TakeMemory(io.bytes, *stand_in);
  stand_in->io.segments = stand_in->segments;
  stand_in->hands = LateHands::Hold(io.segments);
  Io& replacement = stand_in->io;
  stand_ins_.emplace(&replacement, std::move(stand_in));
  waiting_.Push(replacement);
}

void FaultyQueue::LandDue() {
  const std::int64_t now_ns = clock_.NowNs();
  for (std::size_t i = 0; i < late_.size();) {
    if (late_[i]->due_ns > now_ns) {
      ++i;
      continue;
    }
    auto stand_in = std::move(late_[i]);
    late_.erase(late_.begin() + static_cast<std::ptrdiff_t>(i));
    if (stand_in->io.op == Op::kRead) {
      Io& owners = *stand_in->original;
      owners.status = stand_in->io.status;
      if (common_.gone || !Land(*stand_in)) owners.status = Status::kIoError;
      done_.Push(owners);
    } else {
      stand_in->due_ns = 0;
      Io& replacement = stand_in->io;
      stand_ins_.emplace(&replacement, std::move(stand_in));
      waiting_.Push(replacement);
    }
  }
  PassOn();
}

const StandIn* FaultyQueue::StandInOf(const Io& io) const {
  for (const auto& [key, stand_in] : stand_ins_) {
    if (stand_in->original == &io) return stand_in.get();
  }
  for (const auto& late : late_) {
    if (late->original == &io) return late.get();
  }
  return nullptr;
}

bool FaultyQueue::HoldsPages(const Io& io) const {
  if (std::find(stuck_.begin(), stuck_.end(), &io) != stuck_.end()) return true;
  const StandIn* stand_in = StandInOf(io);
  if (stand_in == nullptr) return inner_->HoldsPages(io);
  if (stand_in->memory != nullptr) return io.op != Op::kRead || stand_in->hands != nullptr;
  return inner_->HoldsPages(stand_in->io);
}

// Gives the inner queue what it will take.
void FaultyQueue::PassOn() {
  while (Io* io = waiting_.Pop()) {
    if (inner_->Submit({&io, 1}) == 1) continue;
    IoList rest;
    rest.Push(*io);
    while (Io* next = waiting_.Pop()) rest.Push(*next);
    waiting_ = rest;
    return;
  }
}

// Of one that the inner queue has finished, the owner's Io is done, or will be late.
void FaultyQueue::Finish(Io& io) {
  Io* owners = &io;
  if (const auto at = stand_ins_.find(&io); at != stand_ins_.end()) {
    auto stand_in = std::move(at->second);
    stand_ins_.erase(at);
    if (stand_in->due_ns > 0) return late_.push_back(std::move(stand_in));
    owners = stand_in->original;
    owners->status = io.status;
    if (stand_in->flip_when_read && io.status == Status::kOk) {
      FlipBit(io.segments, io.bytes, stand_in->random);
    }
  }
  if (common_.gone) owners->status = Status::kIoError;
  done_.Push(*owners);
}

void FaultyQueue::Cancel(Io& io) {
  if (hung_.Remove(io)) return Done(io, Status::kCancelled);
  if (std::find(stuck_.begin(), stuck_.end(), &io) != stuck_.end()) return;
  Io* inner = &io;
  for (const auto& [key, stand_in] : stand_ins_) {
    if (stand_in->original == &io) inner = &stand_in->io;
  }
  const StandIn* held = StandInOf(io);
  if (held != nullptr && (held->due_ns > 0 || held->hands != nullptr)) return;
  if (waiting_.Remove(*inner)) {
    stand_ins_.erase(inner);
    return Done(io, Status::kCancelled);
  }
  inner_->Cancel(*inner);
}

class FaultyDevice final : public Device {
 public:
  FaultyDevice(std::unique_ptr<Device> inner, FaultScript script, const Clock& clock)
      : inner_(std::move(inner)),
        clock_(clock),
        traits_(inner_->traits()),
        common_(std::move(script)) {
    traits_.mapped = false;
    traits_.description += ", with faults";
  }

  const Traits& traits() const override { return traits_; }
  Result<std::unique_ptr<Queue>> OpenQueue(const QueueOptions& options) override {
    auto inner = inner_->OpenQueue(options);
    if (!inner) return inner;
    return std::make_unique<FaultyQueue>(std::move(*inner), traits_, common_, clock_,
                                         options.event_fd);
  }

 private:
  std::unique_ptr<Device> inner_;
  const Clock& clock_;
  Traits traits_;
  Common common_;
};

}  // namespace

std::unique_ptr<Device> MakeFaulty(std::unique_ptr<Device> inner, FaultScript script,
                                   const Clock& clock) {
  return std::make_unique<FaultyDevice>(std::move(inner), std::move(script), clock);
}

}  // namespace kvpool::device
