// DLPack: the memory of other libraries' tensors. The layout is that of
// https://dmlc.github.io/dlpack/latest/c_api.html, versions before 1.0 and 1.x.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>
#include <string>

#include "kvpool/request.h"
#include "kvpool/result.h"

namespace kvpool::python {

// The work of others on a GPU, which ends before the bytes there are final.
struct GpuWork {
  int device = -1;            // as its library counts; -1: it does not say
  std::uintptr_t stream = 0;  // as gpu::AwaitStream takes it

  friend bool operator==(const GpuWork&, const GpuWork&) = default;
};

struct TensorMemory {
  void* data = nullptr;
  std::uint64_t bytes = 0;
  bool read_only = false;
  MemoryKind kind = MemoryKind::kHost;
  std::optional<GpuWork> work;
  pybind11::object owner;  // gives the tensor back to its library with its last reference
};

bool IsTensor(pybind11::handle object);

// Of a contiguous tensor in host memory, or in that of a GPU of CUDA's. Its library makes the
// default stream wait for what it does with the tensor, so who waits for that stream finds the
// bytes final. kInvalid, kUnsupported (it lies elsewhere), each with a sentence that has no
// subject: "is not contiguous: ...". With the GIL.
Result<TensorMemory> ReadTensor(pybind11::handle tensor);

}  // namespace kvpool::python
