// kvpool._native: what the Python package is made of.
#include <pybind11/pybind11.h>

#include "python/src/bind.h"
#include "python/src/errors.h"
#include "python/src/pool_handle.h"

PYBIND11_MODULE(_native, module) {
  using namespace kvpool::python;  // NOLINT(google-build-using-namespace)
  module.doc() = "The C++ side of kvpool; use kvpool itself.";
  LoadStatuses();
  PrepareForForks();
  BindMemory(module);
  BindChannel(module);
  BindSpace(module);
  BindPool(module);
  module.def("_close_everything", CloseEverything,
             "Closes every pool of this process, for its exit.");
}
