#include "device/faulty.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"
#include "device/io_check.h"
#include "device/io_list.h"

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

// The bytes of a write, copied, since its owner's must stay as they are.
void CopyAndFlip(const Io& io, StandIn& stand_in) {
  stand_in.memory.reset(std::aligned_alloc(4096, (io.bytes + 4095u) / 4096 * 4096));
  KVPOOL_CHECK(stand_in.memory != nullptr);
  auto* at = static_cast<std::byte*>(stand_in.memory.get());
  for (const iovec& segment : io.segments) {
    std::memcpy(at, segment.iov_base, segment.iov_len);
    at += segment.iov_len;
  }
  stand_in.segments = {{stand_in.memory.get(), io.bytes}};
  FlipBit(stand_in.segments, io.bytes, stand_in.random);
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
  FaultyQueue(std::unique_ptr<Queue> inner, const Traits& traits, Common& common, int event_fd)
      : inner_(std::move(inner)), traits_(traits), common_(common), event_fd_(event_fd) {}
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
      for (Io* io : std::span(finished).first(got)) done_.Push(Finish(*io));
      PassOn();
    } while (got > 0);
    const std::size_t count = done_.PopInto(done);
    held_ -= count;
    return count;
  }

  void Cancel(Io& io) override;
  std::int64_t NextPollNs() const override { return inner_->NextPollNs(); }

 private:
  void Take(Io& io);
  void Replace(Io& io, Fault fault, std::uint64_t random);
  void PassOn();
  Io& Finish(Io& io);
  void Done(Io& io, Status status) {
    io.status = status;
    done_.Push(io);
    Notify(event_fd_);
  }

  std::unique_ptr<Queue> inner_;
  const Traits& traits_;
  Common& common_;
  const int event_fd_;
  std::size_t held_ = 0;
  IoList waiting_;  // decided, and the inner queue was full
  IoList hung_;
  IoList done_;
  std::unordered_map<const Io*, std::unique_ptr<StandIn>> stand_ins_;  // by their own Io
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
    CopyAndFlip(io, *stand_in);
  } else {
    stand_in->flip_when_read = true;
  }
  stand_in->io.segments = stand_in->segments;
  Io& replacement = stand_in->io;
  stand_ins_.emplace(&replacement, std::move(stand_in));
  waiting_.Push(replacement);
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

// The owner's Io behind one that the inner queue has finished.
Io& FaultyQueue::Finish(Io& io) {
  Io* owners = &io;
  if (const auto at = stand_ins_.find(&io); at != stand_ins_.end()) {
    const auto stand_in = std::move(at->second);
    stand_ins_.erase(at);
    owners = stand_in->original;
    owners->status = io.status;
    if (stand_in->flip_when_read && io.status == Status::kOk) {
      FlipBit(io.segments, io.bytes, stand_in->random);
    }
  }
  if (common_.gone) owners->status = Status::kIoError;
  return *owners;
}

void FaultyQueue::Cancel(Io& io) {
  if (hung_.Remove(io)) return Done(io, Status::kCancelled);
  Io* inner = &io;
  for (const auto& [key, stand_in] : stand_ins_) {
    if (stand_in->original == &io) inner = &stand_in->io;
  }
  if (waiting_.Remove(*inner)) {
    stand_ins_.erase(inner);
    return Done(io, Status::kCancelled);
  }
  inner_->Cancel(*inner);
}

class FaultyDevice final : public Device {
 public:
  FaultyDevice(std::unique_ptr<Device> inner, FaultScript script)
      : inner_(std::move(inner)), traits_(inner_->traits()), common_(std::move(script)) {
    traits_.mapped = false;
    traits_.description += ", with faults";
  }

  const Traits& traits() const override { return traits_; }
  Result<std::unique_ptr<Queue>> OpenQueue(const QueueOptions& options) override {
    auto inner = inner_->OpenQueue(options);
    if (!inner) return inner;
    return std::make_unique<FaultyQueue>(std::move(*inner), traits_, common_, options.event_fd);
  }

 private:
  std::unique_ptr<Device> inner_;
  Traits traits_;
  Common common_;
};

}  // namespace

std::unique_ptr<Device> MakeFaulty(std::unique_ptr<Device> inner, FaultScript script) {
  return std::make_unique<FaultyDevice>(std::move(inner), std::move(script));
}

}  // namespace kvpool::device
