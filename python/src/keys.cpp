#include "python/src/keys.h"

#include <fmt/format.h>

#include "python/src/errors.h"

namespace kvpool::python {
namespace {

py::tuple AsTuple(py::handle sequence) {
  if (PyUnicode_Check(sequence.ptr()) || PyBytes_Check(sequence.ptr())) {
    Raise(Status::kInvalid, "one key was given where a sequence of keys belongs: write [key]");
  }
  PyObject* const tuple = PySequence_Tuple(sequence.ptr());
  if (tuple == nullptr) {
    PyErr_Clear();
    Raise(Status::kInvalid, fmt::format("keys are a sequence of bytes or str, not {}",
                                        Py_TYPE(sequence.ptr())->tp_name));
  }
  return py::reinterpret_steal<py::tuple>(tuple);
}

}  // namespace

std::string_view KeyBytes(py::handle key) {
  if (PyBytes_Check(key.ptr())) {
    return {PyBytes_AS_STRING(key.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(key.ptr()))};
  }
  if (!PyUnicode_Check(key.ptr())) {
    Raise(Status::kInvalid,
          fmt::format("a key is bytes or str, not {}", Py_TYPE(key.ptr())->tp_name));
  }
  Py_ssize_t bytes = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(key.ptr(), &bytes);
  if (text == nullptr) {
    PyErr_Clear();
    Raise(Status::kInvalid, "a key is a str that has no UTF-8: give its bytes");
  }
  return {text, static_cast<std::size_t>(bytes)};
}

Keys::Keys(py::handle sequence) : objects_(AsTuple(sequence)) {
  keys_.reserve(objects_.size());
  for (const py::handle key : objects_) keys_.push_back(KeyBytes(key));
}

}  // namespace kvpool::python
