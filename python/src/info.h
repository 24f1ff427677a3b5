// What a pool says of itself, as a dict.
#pragma once

#include <pybind11/pybind11.h>

#include "kvpool/pool.h"

namespace kvpool::python {

// The fields of PoolInfo by their names; "devices" is a list of dicts of DeviceInfo's.
pybind11::dict InfoDict(const PoolInfo& info);

}  // namespace kvpool::python
