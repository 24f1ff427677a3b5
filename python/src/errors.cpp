#include "python/src/errors.h"

#include <array>

namespace kvpool::python {
namespace {

constexpr std::size_t kStatuses = static_cast<std::size_t>(Status::kForbidden) + 1;

// For as long as the process lives: the interpreter may end before the last of our objects.
std::array<PyObject*, kStatuses> members;
std::array<PyObject*, kStatuses> exceptions;

}  // namespace

void LoadStatuses() {
  const py::module_ types = py::module_::import("kvpool._types");
  const py::object status = types.attr("Status");
  const py::object classes = types.attr("EXCEPTIONS");
  if (py::len(status) != kStatuses) {
    throw py::import_error(
        "kvpool's Python files and its extension are of different versions: "
        "install the package again");
  }
  for (std::size_t i = 0; i < kStatuses; ++i) {
    py::object member = status(i);
    exceptions[i] = member.equal(status.attr("OK"))
                        ? py::object(types.attr("Error")).release().ptr()
                        : py::object(classes[member]).release().ptr();
    members[i] = member.release().ptr();
  }
}

py::object StatusObject(Status status) {
  return py::reinterpret_borrow<py::object>(members.at(static_cast<std::size_t>(status)));
}

py::list StatusList(std::span<const Status> results) {
  py::list list(results.size());
  for (std::size_t i = 0; i < results.size(); ++i) {
    PyObject* const member = members.at(static_cast<std::size_t>(results[i]));
    Py_INCREF(member);
    PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), member);
  }
  return list;
}

void Raise(Status status, const std::string& sentence, int system_errno) {
  const py::handle type = exceptions.at(static_cast<std::size_t>(status));
  py::object error = type(sentence);
  if (system_errno != 0 && py::hasattr(error, "errno")) error.attr("errno") = system_errno;
  PyErr_SetObject(type.ptr(), error.ptr());
  throw py::error_already_set();
}

void Raise(const Error& error) { Raise(error.status, error.message, error.system_errno); }

void RaiseClosed(const std::string& what) {
  Raise(Status::kCancelled, what + " is closed: open it again to use it");
}

}  // namespace kvpool::python
