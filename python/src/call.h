// Call: a request made of Python's objects.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <optional>
#include <variant>

#include "kvpool/channel.h"
#include "python/src/buffers.h"
#include "python/src/keys.h"
#include "python/src/pool_handle.h"

namespace kvpool::python {

// What Python says of a put besides keys and blocks.
struct PutOptions {
  std::optional<std::uint64_t> ordinal;
  pybind11::object parent;
  bool durable = false;
  bool background = false;
};

// Seconds, as Python counts them, to the pool's. Raises Invalid for less than none.
std::optional<std::chrono::milliseconds> Deadline(std::optional<double> seconds);

// Keys, buffers and the request that points to them. Not moved once it is made.
// Threads: one, with the GIL, but Submit, request and layers_ready.
class Call {
 public:
  using Seconds = std::optional<double>;

  static constexpr struct Drop {
  } kDrop{};
  static constexpr struct Flush {
  } kFlush{};

  Call(Space space, pybind11::handle keys, pybind11::handle blocks, PutOptions options,
       Seconds deadline);
  Call(Space space, pybind11::handle keys, pybind11::handle into, bool background,
       Seconds deadline);
  Call(Drop, Space space, pybind11::handle keys, Seconds deadline);
  Call(Flush, Space space, pybind11::handle keys, Seconds deadline);

  Request& request();
  Status Submit(Channel& channel);
  bool on_gpu() const { return buffers_.on_gpu(); }
  // Planning many keys takes longer than to let others have the GIL.
  bool IsLong() const { return keys_.size() > 64; }

  std::uint32_t layers_ready() const;
  // The stored length of each key of a get that is OK, else 0. Once the request is done.
  pybind11::list block_bytes() const;

 private:
  template <class AnyRequest>
  void Aim(AnyRequest& request, Space space, Seconds deadline);

  Keys keys_;
  Buffers buffers_;
  pybind11::object parent_;
  std::variant<PutRequest, GetRequest, DropRequest, FlushRequest> request_;
};

// A request that Submit did not take.
[[noreturn]] void RaiseNotTaken(PoolHandle& handle, const Call& call, Status status);

}  // namespace kvpool::python
