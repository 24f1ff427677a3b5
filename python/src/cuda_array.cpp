#include "python/src/cuda_array.h"

#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "gpu/await.h"

namespace kvpool::python {
namespace {

namespace py = pybind11;

struct Interface {
  std::vector<std::int64_t> shape;
  std::optional<std::vector<std::int64_t>> strides;  // in bytes
  std::int64_t item_bytes = 0;
  std::pair<std::uintptr_t, bool> data;  // address, read-only
  bool masked = false;
  std::optional<std::uintptr_t> stream;  // to wait for
};

// Before version 3 nobody said which stream the array is used in: then it is the default one.
std::optional<std::uintptr_t> StreamIn(const py::dict& fields) {
  if (!fields.contains("stream")) return gpu::kDefaultStream;
  const py::object stream = fields["stream"];
  if (stream.is_none()) return std::nullopt;
  return stream.cast<std::uintptr_t>();
}

Interface InterfaceOf(const py::dict& fields) {
  Interface array;
  array.shape = fields["shape"].cast<std::vector<std::int64_t>>();
  if (fields.contains("strides")) {
    array.strides = fields["strides"].cast<std::optional<std::vector<std::int64_t>>>();
  }
  // "<f2": the byte order, the kind, and the bytes of an item.
  array.item_bytes = std::stoll(fields["typestr"].cast<std::string>().substr(2));
  array.data = fields["data"].cast<std::pair<std::uintptr_t, bool>>();
  array.masked = fields.contains("mask") && !fields["mask"].is_none();
  array.stream = StreamIn(fields);
  return array;
}

// Nothing where the shape is impossible.
std::optional<std::uint64_t> BytesOf(const Interface& array) {
  std::uint64_t bytes = array.item_bytes > 0 ? static_cast<std::uint64_t>(array.item_bytes) : 0;
  if (bytes == 0) return std::nullopt;
  for (const std::int64_t size : array.shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes)) {
      return std::nullopt;
    }
  }
  return bytes;
}

bool IsContiguous(const Interface& array) {
  if (!array.strides) return true;
  if (array.strides->size() != array.shape.size()) return false;
  std::int64_t expected = array.item_bytes;
  for (std::size_t i = array.shape.size(); i-- > 0;) {
    if (array.shape[i] != 1 && (*array.strides)[i] != expected) return false;
    expected *= array.shape[i];
  }
  return true;
}

Result<Interface> Read(py::handle array) {
  try {
    return InterfaceOf(array.attr("__cuda_array_interface__").cast<py::dict>());
  } catch (const std::exception& error) {  // of Python's, of pybind11's, of the standard library's
    return Fail(Status::kInvalid,
                "has a __cuda_array_interface__ that makes no sense: " + std::string(error.what()));
  }
}

}  // namespace

Result<TensorMemory> ReadCudaArray(py::handle array) {
  const auto fields = Read(array);
  if (!fields) return tl::unexpected(fields.error());
  const auto bytes = BytesOf(*fields);
  if (!bytes) return Fail(Status::kInvalid, "is an array of an impossible shape");
  if (fields->masked) {
    return Fail(Status::kInvalid, "is a masked array: give its data and its mask one by one");
  }
  if (*bytes != 0 && !IsContiguous(*fields)) {
    return Fail(Status::kInvalid,
                "is not contiguous: give its contiguous runs one by one, as a sequence of buffers");
  }
  TensorMemory memory;
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  memory.data = reinterpret_cast<void*>(fields->data.first);
  memory.bytes = *bytes;
  memory.read_only = fields->data.second;
  memory.kind = MemoryKind::kGpu;
  if (fields->stream) memory.work = GpuWork{.stream = *fields->stream};
  memory.owner = py::reinterpret_borrow<py::object>(array);
  return memory;
}

}  // namespace kvpool::python
