// SpaceHandle: what a kvpool.Space of Python stands on.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "kvpool/key.h"
#include "python/src/call.h"
#include "python/src/pool_handle.h"

namespace kvpool::python {

// Threads: any, with the GIL.
class SpaceHandle {
 public:
  SpaceHandle(std::shared_ptr<PoolHandle> handle, const SpaceSpec& spec);

  PoolHandle& handle() const { return *handle_; }
  Space space() const { return space_; }

  std::size_t Match(pybind11::handle keys) const;
  pybind11::list Contains(pybind11::handle keys) const;
  // Submits and waits, without the GIL, until the request is done; its results.
  pybind11::list Complete(Call& call) const;

 private:
  const std::shared_ptr<PoolHandle> handle_;
  Space space_;
};

}  // namespace kvpool::python
