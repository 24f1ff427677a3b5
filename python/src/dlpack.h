// DLPack: the memory of other libraries' tensors. The layout is that of
// https://dmlc.github.io/dlpack/latest/c_api.html, versions before 1.0 and 1.x.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "kvpool/result.h"

namespace kvpool::python {

struct TensorMemory {
  void* data = nullptr;
  std::uint64_t bytes = 0;
  bool read_only = false;
  pybind11::object capsule;  // gives the tensor back to its library with its last reference
};

bool IsTensor(pybind11::handle object);

// Of a contiguous tensor in host memory. kInvalid, kUnsupported (it lies elsewhere), each with a
// sentence that has no subject: "is not contiguous: ...". With the GIL.
Result<TensorMemory> ReadTensor(pybind11::handle tensor);

}  // namespace kvpool::python
