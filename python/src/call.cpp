#include "python/src/call.h"

#include <algorithm>
#include <cmath>

#include "python/src/errors.h"

namespace kvpool::python {
namespace {

Priority PriorityOf(bool background) {
  return background ? Priority::kBackground : Priority::kForeground;
}

}  // namespace

std::optional<std::chrono::milliseconds> Deadline(std::optional<double> seconds) {
  if (!seconds) return std::nullopt;
  if (!(*seconds >= 0)) {
    Raise(Status::kInvalid, "a deadline is a number of seconds from now, 0 or more");
  }
  constexpr double kAYear = 365.0 * 86'400;  // beyond that, for ever
  return std::chrono::milliseconds(std::llround(std::ceil(std::min(*seconds, kAYear) * 1e3)));
}

template <class AnyRequest>
void Call::Aim(AnyRequest& request, Space space, Seconds deadline) {
  request.space = space;
  request.keys = keys_.view();
  request.deadline = Deadline(deadline);
}

Call::Call(Space space, py::handle keys, py::handle blocks, PutOptions options, Seconds deadline)
    : keys_(keys), buffers_(Access::kRead), parent_(std::move(options.parent)) {
  auto& put = request_.emplace<PutRequest>();
  Aim(put, space, deadline);
  buffers_.AddBlocks(blocks, keys_.size());
  put.from = buffers_.segments();
  put.ordinal = options.ordinal;
  put.parent = KeyBytes(parent_);
  put.durable = options.durable;
  put.priority = PriorityOf(options.background);
}

Call::Call(Space space, py::handle keys, py::handle into, bool background, Seconds deadline)
    : keys_(keys), buffers_(Access::kWrite) {
  auto& get = request_.emplace<GetRequest>();
  Aim(get, space, deadline);
  buffers_.AddBlocks(into, keys_.size());
  get.into = buffers_.segments();
  get.priority = PriorityOf(background);
}

Call::Call(Drop, Space space, py::handle keys, Seconds deadline)
    : keys_(keys), buffers_(Access::kRead) {
  Aim(request_.emplace<DropRequest>(), space, deadline);
}

Call::Call(Flush, Space space, py::handle keys, Seconds deadline)
    : keys_(keys), buffers_(Access::kRead) {
  Aim(request_.emplace<FlushRequest>(), space, deadline);
}

Request& Call::request() {
  return std::visit([](auto& request) -> Request& { return request; }, request_);
}

Status Call::Submit(Channel& channel) {
  return std::visit([&](auto& request) { return channel.Submit(request); }, request_);
}

std::uint32_t Call::layers_ready() const {
  const auto* const get = std::get_if<GetRequest>(&request_);
  return get == nullptr ? 0 : get->LayersReady();
}

py::list Call::block_bytes() const {
  py::list bytes;
  const auto* const get = std::get_if<GetRequest>(&request_);
  if (get == nullptr) return bytes;
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    bytes.append(get->result(i) == Status::kOk ? get->block_bytes(i) : std::uint64_t{0});
  }
  return bytes;
}

}  // namespace kvpool::python
