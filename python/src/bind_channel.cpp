#include <fmt/format.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "python/src/bind.h"
#include "python/src/channel_core.h"
#include "python/src/errors.h"
#include "python/src/space_handle.h"

namespace kvpool::python {
namespace {

using Seconds = Call::Seconds;

// One finished request.
struct Completion {
  std::uint64_t id = 0;
  py::list results;
  py::object user;
  py::list block_bytes;
  std::uint32_t layers_ready = 0;
};

template <class... Arguments>
std::uint64_t Submit(ChannelCore& channel, const SpaceHandle& space, py::object user,
                     Arguments&&... arguments) {
  if (!channel.handle().SharesPool(space.handle())) {
    if (space.handle().closed() || channel.handle().closed()) RaiseClosed(kThePool);
    Raise(Status::kInvalid, "the space belongs to another pool than the channel: open it there");
  }
  return channel.Submit(
      std::make_unique<Flight>(std::move(user), std::forward<Arguments>(arguments)...));
}

std::uint64_t SubmitPut(ChannelCore& channel, const SpaceHandle& space, py::object keys,
                        py::object blocks, std::optional<std::uint64_t> ordinal, py::object parent,
                        bool durable, bool background, Seconds deadline, py::object user) {
  return Submit(channel, space, std::move(user), space.space(), keys, blocks,
                PutOptions{ordinal, std::move(parent), durable, background}, deadline);
}

std::uint64_t SubmitGet(ChannelCore& channel, const SpaceHandle& space, py::object keys,
                        py::object into, bool background, Seconds deadline, py::object user) {
  return Submit(channel, space, std::move(user), space.space(), keys, into, background, deadline);
}

std::uint64_t SubmitDrop(ChannelCore& channel, const SpaceHandle& space, py::object keys,
                         Seconds deadline, py::object user) {
  return Submit(channel, space, std::move(user), Call::kDrop, space.space(), keys, deadline);
}

std::uint64_t SubmitFlush(ChannelCore& channel, const SpaceHandle& space, py::object keys,
                          Seconds deadline, py::object user) {
  return Submit(channel, space, std::move(user), Call::kFlush, space.space(), keys, deadline);
}

py::list Poll(ChannelCore& channel, std::int64_t limit) {
  if (limit < 1) Raise(Status::kInvalid, "poll takes a limit of 1 or more");
  py::list completions;
  for (auto& flight : channel.Poll(static_cast<std::size_t>(limit))) {
    Call& call = flight->call;
    completions.append(Completion{flight->id, StatusList(call.request().results()),
                                  std::move(flight->user), call.block_bytes(),
                                  call.layers_ready()});
  }
  return completions;
}

void BindCompletion(py::module_& module) {
  py::class_<Completion>(module, "Completion", "One finished request.")
      .def_readonly("id", &Completion::id, "What submit gave.")
      .def_readonly("results", &Completion::results, "A Status for each key.")
      .def_readonly("user", &Completion::user, "What submit was given.")
      .def_readonly("block_bytes", &Completion::block_bytes,
                    "Gets: the stored length of each key that is OK, else 0; else empty.")
      .def_readonly("layers_ready", &Completion::layers_ready,
                    "Gets: how many leading layers are settled, which is all; else 0.")
      .def("__repr__", [](const Completion& one) {
        return fmt::format("<kvpool.Completion {}: {} keys>", one.id, py::len(one.results));
      });
}

void BindSubmits(py::class_<ChannelCore, std::shared_ptr<ChannelCore>>& channel) {
  using py::arg;
  channel
      .def("submit_put", &SubmitPut, arg("space"), arg("keys"), arg("blocks"), py::kw_only(),
           arg("ordinal") = py::none(), arg("parent") = py::bytes(), arg("durable") = false,
           arg("background") = false, arg("deadline") = py::none(), arg("user") = py::none(),
           "Stores the blocks of keys that are absent; gives the request's id. Arguments as "
           "Space.put. Raises Busy when too much is in flight: poll first.")
      .def("submit_get", &SubmitGet, arg("space"), arg("keys"), arg("into"), py::kw_only(),
           arg("background") = false, arg("deadline") = py::none(), arg("user") = py::none(),
           "Brings blocks back into buffers; gives the request's id. Arguments as Space.get.")
      .def("submit_drop", &SubmitDrop, arg("space"), arg("keys"), py::kw_only(),
           arg("deadline") = py::none(), arg("user") = py::none(),
           "Removes blocks; gives the request's id.")
      .def("submit_flush", &SubmitFlush, arg("space"), arg("keys") = py::tuple(), py::kw_only(),
           arg("deadline") = py::none(), arg("user") = py::none(),
           "Makes blocks durable: the named ones, or all that was put before; gives the "
           "request's id.");
}

}  // namespace

void BindChannel(py::module_& module) {
  BindCompletion(module);
  py::class_<ChannelCore, std::shared_ptr<ChannelCore>> channel(
      module, "Channel",
      "Asynchronous requests of one thread: submit, then poll for what is done. Buffers and keys "
      "are kept alive until the completion is polled; leave the buffers alone until then. Every "
      "request completes exactly once. Threads: any, one call at a time; wait() may go on "
      "meanwhile.");
  BindSubmits(channel);
  channel
      .def("poll", &Poll, py::arg("limit") = 256,
           "Up to `limit` requests that are done, as a list of Completion. Does not wait.")
      .def("wait", &ChannelCore::Wait, py::arg("timeout") = py::none(),
           "Returns True when poll() has something, False after `timeout` seconds. Releases the "
           "GIL; signals are handled. Raises Cancelled when the channel is closed meanwhile.")
      .def("layers_ready", &ChannelCore::LayersReady, py::arg("request"),
           "Of a get that is in flight: how many leading layers of all its keys are in place, or "
           "known to be missing.")
      .def("fileno", &ChannelCore::event_fd,
           "An eventfd, readable when poll() has something. The channel's own: do not close it, "
           "do not read from it.")
      .def_property_readonly("in_flight", &ChannelCore::in_flight,
                             "Requests that were submitted and not polled yet.")
      .def("close", &ChannelCore::Close, "Waits for what is in flight and forgets it. Idempotent.")
      .def_readwrite("_on_close", &ChannelCore::on_close)
      .def("__enter__", [](py::object self) { return self; })
      .def("__exit__", [](ChannelCore& self, const py::args&) { self.Close(); });
}

}  // namespace kvpool::python
