#include "python/src/channel_core.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cmath>

namespace kvpool::python {
namespace {

constexpr char kTheChannel[] = "the channel";

std::chrono::steady_clock::time_point Until(std::optional<double> timeout_s) {
  using Clock = std::chrono::steady_clock;
  constexpr double kAYear = 365.0 * 86'400;
  const double seconds = std::clamp(timeout_s.value_or(kAYear), 0.0, kAYear);
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// True: readable. False: not before `until`, or a signal came.
bool AwaitReadable(int fd, std::chrono::steady_clock::time_point until) {
  const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(
      until - std::chrono::steady_clock::now());
  const std::int64_t left_ns = std::max<std::int64_t>(left.count(), 0);
  pollfd event{fd, POLLIN, 0};
  const timespec wait{left_ns / 1'000'000'000, left_ns % 1'000'000'000};
  return ppoll(&event, 1, &wait, nullptr) > 0;
}

}  // namespace

std::shared_ptr<ChannelCore> ChannelCore::Open(std::shared_ptr<PoolHandle> handle) {
  handle->CheckProcess();
  Result<std::unique_ptr<Channel>> channel;
  {
    const UnlockedUse use(handle->uses(), kThePool);
    channel = handle->pool().OpenChannel();
    handle->uses().EnterAgain();  // the channel's own, until it is closed
  }
  if (!channel) {
    handle->uses().Leave();
    Raise(channel.error());
  }
  PoolHandle& pool = *handle;
  std::shared_ptr<ChannelCore> core(new ChannelCore(std::move(handle), std::move(*channel)));
  pool.Add(core);
  if (pool.closed()) core->Close();  // it may have come too late to be closed with the others
  return core;
}

ChannelCore::ChannelCore(std::shared_ptr<PoolHandle> handle, std::unique_ptr<Channel> channel)
    : handle_(std::move(handle)), event_fd_(channel->event_fd()), channel_(std::move(channel)) {}

ChannelCore::~ChannelCore() {
  Close();
  if (!handle_->forked()) return;
  (void)channel_.release();
  for (auto& flight : flights_) (void)flight.second.release();
}

void ChannelCore::Check() const {
  handle_->CheckProcess();
  if (uses_.closed()) RaiseClosed(handle_->closed() ? kThePool : kTheChannel);
}

// Nothing of Python runs while the mutex is held: it could come here again.
Status ChannelCore::Take(std::unique_ptr<Flight>& flight, std::uint64_t& id) {
  const std::lock_guard lock(mutex_);
  if (channel_ == nullptr) return Status::kCancelled;
  Flight& one = *flight;
  one.id = id = next_id_++;
  one.call.request().user = &one;
  // Before it is submitted: then another thread may poll it.
  flights_.emplace(id, std::move(flight));
  const Status status = one.call.Submit(*channel_);
  if (status != Status::kOk) flight = std::move(flights_.extract(id).mapped());
  return status;
}

std::uint64_t ChannelCore::Submit(std::unique_ptr<Flight> flight) {
  Check();
  std::uint64_t id = 0;
  Status status;
  if (flight->call.IsLong()) {
    const UnlockedUse use(uses_, kTheChannel);
    status = Take(flight, id);
  } else {
    const Use use(uses_, kTheChannel);
    status = Take(flight, id);
  }
  if (status == Status::kCancelled) RaiseClosed(kTheChannel);
  if (status != Status::kOk) RaiseNotTaken(*handle_, flight->call, status);
  return id;
}

std::vector<std::unique_ptr<Flight>> ChannelCore::Poll(std::size_t limit) {
  Check();
  std::vector<std::unique_ptr<Flight>> flights;
  std::array<Request*, 64> done;
  const std::lock_guard lock(mutex_);
  if (channel_ == nullptr) return flights;
  while (flights.size() < limit) {
    const std::size_t most = std::min(limit - flights.size(), done.size());
    const std::size_t count = channel_->Poll({done.data(), most});
    for (std::size_t i = 0; i < count; ++i) {
      const auto* const flight = static_cast<Flight*>(done[i]->user);
      flights.push_back(std::move(flights_.extract(flight->id).mapped()));
    }
    if (count < most) break;
  }
  return flights;
}

bool ChannelCore::Wait(std::optional<double> timeout_s) {
  if (timeout_s && !(*timeout_s >= 0)) {
    Raise(Status::kInvalid, "a timeout is a number of seconds, 0 or more, or None for no end");
  }
  const auto until = Until(timeout_s);
  for (;;) {
    Check();
    bool readable = false;
    {
      const UnlockedUse use(uses_, kTheChannel);
      readable = AwaitReadable(event_fd_, until);
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (readable && !uses_.closed()) return true;
    if (!readable && std::chrono::steady_clock::now() >= until) return false;
  }
}

std::uint32_t ChannelCore::LayersReady(std::uint64_t request) {
  Check();
  {
    const std::lock_guard lock(mutex_);
    const auto flight = flights_.find(request);
    if (flight != flights_.end()) return flight->second->call.layers_ready();
  }
  Raise(Status::kInvalid, fmt::format("request {} is not in flight on this channel: its Completion "
                                      "has its layers_ready",
                                      request));
}

int ChannelCore::event_fd() const {
  Check();
  return event_fd_;
}

std::size_t ChannelCore::in_flight() {
  handle_->CheckProcess();
  const std::lock_guard lock(mutex_);
  return flights_.size();
}

void ChannelCore::Close() {
  if (handle_->forked()) return;
  if (!uses_.Refuse()) return AwaitEnd(uses_);
  const std::uint64_t one = 1;  // those who wait leave
  [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof one);
  std::unordered_map<std::uint64_t, std::unique_ptr<Flight>> flights;
  {
    const py::gil_scoped_release release;
    uses_.AwaitNone();
    std::unique_ptr<Channel> channel;
    {
      const std::lock_guard lock(mutex_);
      channel = std::move(channel_);
    }
    channel.reset();
    const std::lock_guard lock(mutex_);
    flights.swap(flights_);
  }
  handle_->uses().Leave();
  uses_.End();
  if (!on_close) return;
  try {
    on_close();
  } catch (py::error_already_set& error) {
    error.discard_as_unraisable("kvpool.Channel.close");
  }
}

}  // namespace kvpool::python
