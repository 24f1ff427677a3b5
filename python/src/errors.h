// Statuses as Python has them: members of kvpool.Status, and one exception for each.
#pragma once

#include <pybind11/pybind11.h>

#include <span>
#include <string>

#include "kvpool/result.h"
#include "kvpool/status.h"

namespace kvpool::python {

namespace py = pybind11;

// Takes kvpool.Status and the exceptions from the module that defines them. Once, at import.
void LoadStatuses();

// The member of kvpool.Status. With the GIL.
py::object StatusObject(Status status);
// A list of them.
py::list StatusList(std::span<const Status> results);

// Raises the exception of a status. With the GIL.
[[noreturn]] void Raise(Status status, const std::string& sentence, int system_errno = 0);
[[noreturn]] void Raise(const Error& error);
// `what` was closed: "the pool", "the channel".
[[noreturn]] void RaiseClosed(const std::string& what);

template <class T>
T ValueOrRaise(Result<T> result) {
  if (!result) Raise(result.error());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace kvpool::python
