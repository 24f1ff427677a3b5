#include "bench/probe/load.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/clock.h"

namespace kvpool::probe {
namespace {

constexpr double kTickSeconds = 0.02;
constexpr int kWaitMs = 100;

double SecondsBetween(std::int64_t from_ns, std::int64_t to_ns) {
  return static_cast<double>(to_ns - from_ns) / 1e9;
}

// splitmix64.
std::uint64_t NextRandom(std::uint64_t& state) {
  std::uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// Hands out the offsets of a load, in sequence or at random.
class Offsets {
 public:
  explicit Offsets(const Load& load)
      : load_(load), count_(load.bytes / load.io_bytes), random_(load.random_seed) {
    KVPOOL_CHECK(count_ > 0);
  }
  bool Done() const { return load_.once && given_ == count_; }
  std::uint64_t Next() {
    const std::uint64_t i = load_.random_seed != 0 ? NextRandom(random_) % count_ : given_ % count_;
    ++given_;
    return load_.first_byte + i * load_.io_bytes;
  }

 private:
  const Load& load_;
  std::uint64_t count_;
  std::uint64_t random_;
  std::uint64_t given_ = 0;
};

struct Flight {
  device::Io io;
  iovec segment{};
  std::int64_t submitted_ns = 0;
};

// A load under way on a queue.
class Running {
 public:
  Running(const Load& load, device::Queue& queue, std::span<std::byte> buffer)
      : load_(load), queue_(queue), offsets_(load), flights_(load.depth), done_(load.depth) {
    for (std::size_t i = 0; i < flights_.size(); ++i) {
      Flight& flight = flights_[i];
      flight.segment = {buffer.data() + i * load.io_bytes, load.io_bytes};
      flight.io.op = load.op;
      flight.io.bytes = load.io_bytes;
      flight.io.segments = {&flight.segment, 1};
      flight.io.user = &flight;
    }
    for (std::size_t i = flights_.size(); i > 0; --i) idle_.push_back(&flights_[i - 1].io);
  }

  // False when everything has been submitted and has come back.
  bool Submit() {
    const bool more = !failed_ && seconds() < load_.seconds;
    for (; more && !idle_.empty() && !offsets_.Done(); idle_.pop_back()) {
      idle_.back()->offset = offsets_.Next();
      static_cast<Flight*>(idle_.back()->user)->submitted_ns = now_ns_;
      batch_.push_back(idle_.back());
    }
    const std::size_t taken = batch_.empty() ? 0 : queue_.Submit(batch_);
    batch_.erase(batch_.begin(), batch_.begin() + static_cast<std::ptrdiff_t>(taken));
    in_flight_ += taken;
    return in_flight_ > 0 || !batch_.empty();
  }

  // False when nothing had come back.
  bool Collect() {
    const std::int64_t before_ns = now_ns_;
    const std::size_t count = queue_.Poll(done_);
    now_ns_ = Clock::Monotonic().NowNs();
    if (count == 0) result_.spin_seconds += SecondsBetween(before_ns, now_ns_);
    for (std::size_t i = 0; i < count; ++i) {
      const Flight& flight = *static_cast<Flight*>(done_[i]->user);
      failed_ = failed_ || done_[i]->status != Status::kOk;
      result_.bytes += load_.io_bytes;
      result_.latency_us.push_back(SecondsBetween(flight.submitted_ns, now_ns_) * 1e6);
      idle_.push_back(done_[i]);
    }
    in_flight_ -= count;
    return count > 0;
  }

  double seconds() const { return SecondsBetween(start_ns_, now_ns_); }
  std::uint64_t bytes() const { return result_.bytes; }
  bool failed() const { return failed_; }
  LoadResult Finish() {
    result_.seconds = seconds();
    std::sort(result_.latency_us.begin(), result_.latency_us.end());
    return std::move(result_);
  }

 private:
  const Load& load_;
  device::Queue& queue_;
  Offsets offsets_;
  std::vector<Flight> flights_;
  std::vector<device::Io*> idle_;
  std::vector<device::Io*> batch_;  // not taken by the queue yet
  std::vector<device::Io*> done_;
  std::size_t in_flight_ = 0;
  const std::int64_t start_ns_ = Clock::Monotonic().NowNs();
  std::int64_t now_ns_ = start_ns_;
  bool failed_ = false;
  LoadResult result_;
};

}  // namespace

LoadRunner::LoadRunner(device::Device& device, std::span<std::byte> buffer)
    : device_(device), buffer_(buffer) {}

LoadRunner::~LoadRunner() {
  queue_.reset();
  if (event_fd_ >= 0) close(event_fd_);
}

Result<std::unique_ptr<LoadRunner>> LoadRunner::Open(device::Device& device,
                                                     std::span<std::byte> buffer,
                                                     const mem::RegisteredMemory* registered) {
  std::unique_ptr<LoadRunner> runner(new LoadRunner(device, buffer));
  runner->event_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (runner->event_fd_ < 0) {
    return Fail(Status::kUnsupported,
                "no eventfd is left: raise the limit on open files (ulimit -n)", errno);
  }
  auto queue = device.OpenQueue({.event_fd = runner->event_fd_, .registered = registered});
  if (!queue) return tl::unexpected(queue.error());
  runner->queue_ = std::move(*queue);
  return runner;
}

void LoadRunner::Wait() {
  if (device_.traits().needs_polling) return;
  int timeout_ms = kWaitMs;
  const std::int64_t next_ns = queue_->NextPollNs();
  if (next_ns != device::Queue::kNever) {
    const std::int64_t left_ms = (next_ns - Clock::Monotonic().NowNs()) / 1'000'000;
    timeout_ms = static_cast<int>(std::clamp<std::int64_t>(left_ms, 0, kWaitMs));
  }
  pollfd event{.fd = event_fd_, .events = POLLIN, .revents = 0};
  std::uint64_t count = 0;
  if (poll(&event, 1, timeout_ms) == 1 && read(event_fd_, &count, sizeof count) < 0) return;
}

Result<LoadResult> LoadRunner::Run(const Load& load,
                                   const std::function<void(std::uint64_t)>& tick) {
  KVPOOL_CHECK(std::uint64_t{load.io_bytes} * load.depth <= buffer_.size());
  Running running(load, *queue_, buffer_);
  double ticked = 0;
  while (running.Submit()) {
    if (!running.Collect()) Wait();
    if (!tick || running.seconds() - ticked < kTickSeconds) continue;
    ticked = running.seconds();
    tick(running.bytes());
  }
  if (!running.failed()) {
    LoadResult result = running.Finish();
    if (!device_.traits().needs_polling) result.spin_seconds = 0;
    return result;
  }
  return Fail(Status::kIoError,
              fmt::format("a {} of {} failed: look into the kernel's log (dmesg) for the drive's "
                          "own complaint, and leave this device out",
                          load.op == device::Op::kRead ? "read" : "write", device_.traits().name));
}

}  // namespace kvpool::probe
