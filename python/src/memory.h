// Memory that transfers go to without a copy: the pool's, and the caller's own.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "kvpool/pool.h"
#include "python/src/buffers.h"
#include "python/src/pool_handle.h"

namespace kvpool::python {

// Immutable. It may outlive its pool: then it is memory like any other.
class PoolMemory {
 public:
  explicit PoolMemory(std::shared_ptr<Memory> memory);
  ~PoolMemory();
  PoolMemory(const PoolMemory&) = delete;
  PoolMemory& operator=(const PoolMemory&) = delete;
  const Memory& memory() const { return *memory_; }

 private:
  std::shared_ptr<Memory> memory_;
  const std::uint64_t generation_;
};

std::unique_ptr<PoolMemory> Allocate(PoolHandle& handle, std::int64_t nbytes, int numa_node,
                                     bool shareable);

// The caller's memory, prepared until Release. Threads: one, with the GIL.
class Registration {
 public:
  Registration(PoolHandle& handle, pybind11::handle buffer);
  // Twice is once.
  void Release();

 private:
  std::unique_ptr<Buffers> buffer_;
  std::unique_ptr<PoolMemory> memory_;
};

}  // namespace kvpool::python
