// Arrays on a GPU whose library has no DLPack: __cuda_array_interface__, versions 2 and 3, as
// https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html has it.
#pragma once

#include <pybind11/pybind11.h>

#include "kvpool/result.h"
#include "python/src/dlpack.h"

namespace kvpool::python {

// Of a contiguous array. kInvalid, with a sentence as ReadTensor's. With the GIL.
Result<TensorMemory> ReadCudaArray(pybind11::handle array);

}  // namespace kvpool::python
