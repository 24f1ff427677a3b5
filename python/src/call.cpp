#include "python/src/call.h"

#include <algorithm>
#include <cmath>

#include "python/src/errors.h"

namespace kvpool::python {
namespace {

Priority PriorityOf(bool background) {
  return background ? Priority::kBackground : Priority::kForeground;
}

// Why the pool's GPUs cannot be used; empty where it has none, or they can.
std::string FailureOfGpus(PoolHandle& handle) {
  PoolInfo info;
  {
    const UnlockedUse use(handle.uses(), kThePool);
    info = handle.pool().info();
  }
  for (const GpuInfo& gpu : info.gpus) {
    if (!gpu.failure.empty()) return gpu.failure;
  }
  return {};
}

}  // namespace

void RaiseNotTaken(PoolHandle& handle, const Call& call, Status status) {
  if (status == Status::kBusy) {
    Raise(status, "1,024 requests are in flight on this channel: poll some before the next one");
  }
  if (call.on_gpu() && status == Status::kUnsupported) {
    const std::string why = FailureOfGpus(handle);
    Raise(status, !why.empty() ? why
                               : "a buffer lies on a GPU, and the pool has none: name it in the "
                                 "pool file ([[gpu]]), or copy the buffer to the host first "
                                 "(tensor.cpu())");
  }
  if (call.on_gpu()) {
    Raise(status,
          "the buffers on a GPU do not all lie in the memory of one that the pool file names: name "
          "it there ([[gpu]]), and give buffers of one GPU a request; or the request breaks a "
          "limit: at most 65,536 keys, and as many blocks as keys");
  }
  Raise(status,
        "the request breaks a limit: at most 65,536 keys, and as many blocks as keys, each in the "
        "same number of buffers");
}

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
