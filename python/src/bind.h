// The classes of kvpool._native, by part. Each is called once, at import.
#pragma once

#include <pybind11/pybind11.h>

namespace kvpool::python {

void BindMemory(pybind11::module_& module);   // Segment, Memory, Registration
void BindChannel(pybind11::module_& module);  // Channel, Completion
void BindSpace(pybind11::module_& module);
void BindPool(pybind11::module_& module);

}  // namespace kvpool::python
