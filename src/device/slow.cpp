#include "device/slow.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "base/units.h"

namespace kvpool::device {
namespace {

constexpr std::size_t kMaxHeld = 256;  // Ios that one queue has taken and not handed back

// An owner that comes late by this much still finds work reserved: time that passes unused is lost.
constexpr double kCoverSeconds = 0.008;

// An I/O carries what its device moves in a millisecond, so those of an emulated one are no larger.
constexpr std::uint32_t kUsualIoBytes = 1 << 20;

std::uint32_t DepthFor(const Pace& pace, std::uint32_t io_bytes) {
  const double seconds = static_cast<double>(pace.latency_ns) / 1e9 + kCoverSeconds;
  double fastest = pace.bytes_per_s;
  for (const PaceStep& step : pace.later) fastest = std::max(fastest, step.bytes_per_s);
  const double ios = std::ceil(fastest * seconds / io_bytes) + 1;
  return static_cast<std::uint32_t>(std::clamp(ios, 4.0, kMaxHeld / 2.0));
}

class SlowQueue final : public Queue {
 public:
  SlowQueue(std::unique_ptr<Queue> inner, Pacer& pacer, const Clock& clock)
      : inner_(std::move(inner)), pacer_(pacer), clock_(clock) {
    waiting_.reserve(kMaxHeld);
  }
  ~SlowQueue() override { KVPOOL_CHECK(held_ == 0); }

  std::size_t Submit(std::span<Io* const> ios) override {
    ios = ios.first(std::min(ios.size(), kMaxHeld - held_));
    std::size_t taken = 0;
    while (taken < ios.size()) {
      const std::int64_t now = clock_.NowNs();
      const std::size_t more = inner_->Submit(ios.subspan(taken));
      if (more == 0) break;
      for (Io* io : ios.subspan(taken, more)) io->queue_due_ns = pacer_.Reserve(now, io->bytes);
      taken += more;
      Collect();
    }
    held_ += taken;
    return taken;
  }

  std::size_t Poll(std::span<Io*> done) override {
    Collect();
    std::size_t count = 0;
    if (waiting_.empty()) return count;
    const std::int64_t now = clock_.NowNs();
    while (count < done.size() && !waiting_.empty() && waiting_.front()->queue_due_ns <= now) {
      std::pop_heap(waiting_.begin(), waiting_.end(), DueLater);
      done[count++] = waiting_.back();
      waiting_.pop_back();
    }
    held_ -= count;
    return count;
  }

  // An Io that only waits for its time ends now; the time it reserved is not given back.
  void Cancel(Io& io) override {
    const auto at = std::find(waiting_.begin(), waiting_.end(), &io);
    if (at == waiting_.end()) {
      io.queue_due_ns = 0;
      inner_->Cancel(io);
      return;
    }
    io.queue_due_ns = 0;
    std::make_heap(waiting_.begin(), waiting_.end(), DueLater);
  }

  // What only waits for its time has been moved.
  bool HoldsPages(const Io& io) const override {
    return std::find(waiting_.begin(), waiting_.end(), &io) != waiting_.end() ||
           inner_->HoldsPages(io);
  }

  std::int64_t NextPollNs() const override {
    const std::int64_t inner = inner_->NextPollNs();
    return waiting_.empty() ? inner : std::min(inner, waiting_.front()->queue_due_ns);
  }

 private:
  static bool DueLater(const Io* a, const Io* b) { return a->queue_due_ns > b->queue_due_ns; }

  // Takes over what the inner queue has finished.
  void Collect() {
    std::array<Io*, 32> finished;
    std::size_t count;
    do {
      count = inner_->Poll(finished);
      for (Io* io : std::span(finished).first(count)) {
        waiting_.push_back(io);
        std::push_heap(waiting_.begin(), waiting_.end(), DueLater);
      }
    } while (count == finished.size());
  }

  std::unique_ptr<Queue> inner_;
  Pacer& pacer_;
  const Clock& clock_;
  std::size_t held_ = 0;
  std::vector<Io*> waiting_;  // finished inside, a heap with the earliest due on top
};

class SlowDevice final : public Device {
 public:
  SlowDevice(std::unique_ptr<Device> inner, const Pace& pace, const Clock& clock)
      : inner_(std::move(inner)),
        clock_(clock),
        pacer_(pace, clock.NowNs()),
        traits_(inner_->traits()) {
    inline_ = traits_.mapped;
    traits_.description += fmt::format(", slowed to {}", FormatRate(pace.bytes_per_s));
    for (const PaceStep& step : pace.later) {
      traits_.description += fmt::format(", to {} after {:g} s", FormatRate(step.bytes_per_s),
                                         1e-9 * static_cast<double>(step.after_ns));
    }
    traits_.depth = DepthFor(pace, std::min(traits_.max_io_bytes, kUsualIoBytes));
  }

  const Traits& traits() const override { return traits_; }
  std::byte* Map(std::uint64_t offset) override { return inner_->Map(offset); }
  const mem::LentMemory* Lent(std::uint32_t owner) override { return inner_->Lent(owner); }
  void TrimLent(std::uint32_t owner) override { inner_->TrimLent(owner); }
  void ForgetOwner(std::uint32_t owner) override { inner_->ForgetOwner(owner); }

  Result<std::unique_ptr<Queue>> OpenQueue(const QueueOptions& options) override {
    // Copies are collected inside Submit: waking the owner for them would only cost time.
    auto inner =
        inner_->OpenQueue(inline_ ? QueueOptions{.registered = options.registered} : options);
    if (!inner) return tl::unexpected(inner.error());
    return std::make_unique<SlowQueue>(std::move(*inner), pacer_, clock_);
  }

 private:
  std::unique_ptr<Device> inner_;
  const Clock& clock_;
  Pacer pacer_;
  Traits traits_;
  bool inline_ = false;
};

}  // namespace

std::unique_ptr<Device> MakeSlow(std::unique_ptr<Device> inner, const Pace& pace,
                                 const Clock& clock) {
  return std::make_unique<SlowDevice>(std::move(inner), pace, clock);
}

}  // namespace kvpool::device
