#include "python/src/space_handle.h"

#include "python/src/errors.h"

namespace kvpool::python {
namespace {

// Up to so many keys are looked up sooner than the GIL is handed over and back.
constexpr std::size_t kFewKeys = 1024;

Result<Status> Run(PoolHandle& handle, Call& call) {
  auto channel = handle.TakeChannel();
  if (!channel) return tl::unexpected(channel.error());
  const Status status = call.Submit(**channel);
  if (status == Status::kOk) {
    Request* done = nullptr;
    while ((*channel)->Poll({&done, 1}) == 0) (*channel)->Wait(std::chrono::hours(1));
  }
  handle.PutBack(std::move(*channel));
  return status;
}

}  // namespace

SpaceHandle::SpaceHandle(std::shared_ptr<PoolHandle> handle, const SpaceSpec& spec)
    : handle_(std::move(handle)) {
  handle_->CheckProcess();
  Result<Space> space;
  {
    const UnlockedUse use(handle_->uses(), kThePool);
    space = handle_->pool().OpenSpace(spec);
  }
  space_ = ValueOrRaise(std::move(space));
}

std::size_t SpaceHandle::Match(py::handle keys) const {
  handle_->CheckProcess();
  const Keys names(keys);
  if (names.size() <= kFewKeys) {
    const Use use(handle_->uses(), kThePool);
    return handle_->pool().Match(space_, names.view());
  }
  const UnlockedUse use(handle_->uses(), kThePool);
  return handle_->pool().Match(space_, names.view());
}

py::list SpaceHandle::Contains(py::handle keys) const {
  handle_->CheckProcess();
  const Keys names(keys);
  const auto present = std::make_unique<bool[]>(names.size());
  {
    const UnlockedUse use(handle_->uses(), kThePool);
    handle_->pool().Contains(space_, names.view(), {present.get(), names.size()});
  }
  py::list list(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) list[i] = py::bool_(present[i]);
  return list;
}

py::list SpaceHandle::Complete(Call& call) const {
  handle_->CheckProcess();
  Result<Status> submitted;
  {
    const UnlockedUse use(handle_->uses(), kThePool);
    submitted = Run(*handle_, call);
  }
  const Status status = ValueOrRaise(std::move(submitted));
  if (status != Status::kOk) RaiseNotTaken(*handle_, call, status);
  return StatusList(call.request().results());
}

}  // namespace kvpool::python
