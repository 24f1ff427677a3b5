// ChannelCore: what a kvpool.Channel of Python stands on.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "python/src/call.h"
#include "python/src/pool_handle.h"

namespace kvpool::python {

// A request in flight.
struct Flight {
  std::uint64_t id = 0;
  pybind11::object user;
  Call call;

  template <class... Arguments>
  explicit Flight(pybind11::object users, Arguments&&... arguments)
      : user(std::move(users)), call(std::forward<Arguments>(arguments)...) {}
};

// Threads: any, one at a time inside of the channel. With the GIL.
class ChannelCore {
 public:
  static std::shared_ptr<ChannelCore> Open(std::shared_ptr<PoolHandle> handle);
  ~ChannelCore();
  ChannelCore(const ChannelCore&) = delete;
  ChannelCore& operator=(const ChannelCore&) = delete;

  PoolHandle& handle() const { return *handle_; }

  std::uint64_t Submit(std::unique_ptr<Flight> flight);
  // Up to `limit` that are done, at once.
  std::vector<std::unique_ptr<Flight>> Poll(std::size_t limit);
  // False: nothing came within that time; none: for ever. Python's signal handlers run meanwhile.
  bool Wait(std::optional<double> timeout_s);
  std::uint32_t LayersReady(std::uint64_t request);
  int event_fd() const;
  std::size_t in_flight();

  // Waits for what is in flight and forgets it. Twice is once, and in a forked child nothing.
  void Close();
  // Called at the end of Close, on whatever thread that is.
  pybind11::object on_close;

 private:
  ChannelCore(std::shared_ptr<PoolHandle> handle, std::unique_ptr<Channel> channel);
  void Check() const;
  Status Take(std::unique_ptr<Flight>& flight, std::uint64_t& id);

  const std::shared_ptr<PoolHandle> handle_;
  const int event_fd_;
  Uses uses_;
  // Of all below. Held for as long as a submit takes, which needs no GIL to end.
  std::mutex mutex_;
  std::unique_ptr<Channel> channel_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Flight>> flights_;
  std::uint64_t next_id_ = 1;
};

}  // namespace kvpool::python
