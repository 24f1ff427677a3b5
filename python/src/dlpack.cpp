#include "python/src/dlpack.h"

#include <fmt/format.h>

#include <utility>

#include "gpu/await.h"
#include "python/src/cuda_array.h"

namespace kvpool::python {
namespace {

namespace py = pybind11;

enum : std::int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3, kRocmHost = 11 };
constexpr std::uint64_t kReadOnly = 1;
constexpr std::uint32_t kMajorVersion = 1;

struct DlDevice {
  std::int32_t type;
  std::int32_t id;
};

struct DlTensor {
  void* data;
  DlDevice device;
  std::int32_t dimensions;
  std::uint8_t type_code;
  std::uint8_t type_bits;
  std::uint16_t type_lanes;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: row-major without gaps
  std::uint64_t byte_offset;
};
static_assert(sizeof(DlTensor) == 48);

// The capsule "dltensor" points to a DlTensor first; "dltensor_versioned" to this.
struct DlVersioned {
  std::uint32_t major;
  std::uint32_t minor;
  void* context;
  void (*deleter)(DlVersioned*);
  std::uint64_t flags;
  DlTensor tensor;
};
static_assert(sizeof(DlVersioned) == 80);

bool IsReachable(std::int32_t device) {
  return device == kCpu || device == kCuda || device == kCudaHost || device == kRocmHost;
}

// What a library says of why it gives no tensor, as the end of our sentence.
std::string TakePythonError() {
  const py::error_already_set error;
  return py::str(error.value()).cast<std::string>();
}

py::object Call(PyObject* function, PyObject* keywords) {
  const py::tuple none;
  return py::reinterpret_steal<py::object>(PyObject_Call(function, none.ptr(), keywords));
}

// New libraries say more (whether it may be written to) when they are asked for version 1; old ones
// do not know the question.
Result<py::object> ExportCapsule(py::handle tensor, bool on_gpu) {
  const py::object function = tensor.attr("__dlpack__");
  py::dict old_keywords;
  if (on_gpu) old_keywords["stream"] = gpu::kDefaultStream;
  py::dict keywords = old_keywords.attr("copy")();
  keywords["max_version"] = py::make_tuple(kMajorVersion, 0);
  py::object capsule = Call(function.ptr(), keywords.ptr());
  if (!capsule && PyErr_ExceptionMatches(PyExc_TypeError)) {
    PyErr_Clear();
    capsule = Call(function.ptr(), old_keywords.ptr());
  }
  if (capsule) return capsule;
  return Fail(Status::kInvalid,
              "is a tensor that its library does not export: " + TakePythonError());
}

bool IsContiguous(const DlTensor& tensor) {
  if (tensor.strides == nullptr) return true;
  std::int64_t expected = 1;
  for (std::int32_t i = tensor.dimensions - 1; i >= 0; --i) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
    expected *= tensor.shape[i];
  }
  return true;
}

Result<std::uint64_t> BytesOf(const DlTensor& tensor) {
  std::uint64_t bits = std::uint64_t{tensor.type_bits} * tensor.type_lanes;
  for (std::int32_t i = 0; i < tensor.dimensions; ++i) {
    if (tensor.shape[i] < 0 ||
        __builtin_mul_overflow(bits, static_cast<std::uint64_t>(tensor.shape[i]), &bits)) {
      return Fail(Status::kInvalid, "is a tensor of an impossible shape");
    }
  }
  if (bits % 8 != 0) return Fail(Status::kInvalid, "is a tensor that ends within a byte");
  return bits / 8;
}

std::string Elsewhere(std::int32_t device) {
  return fmt::format(
      "lies on a device of DLPack's kind {}, and kvpool moves memory of the host and of CUDA's "
      "GPUs: "
      "copy it to the host first (tensor.cpu())",
      device);
}

}  // namespace

bool IsTensor(py::handle object) {
  return py::hasattr(object, "__dlpack__") || py::hasattr(object, "__cuda_array_interface__");
}

Result<TensorMemory> ReadTensor(py::handle tensor) {
  if (!py::hasattr(tensor, "__dlpack__")) return ReadCudaArray(tensor);
  bool on_gpu = false;
  if (py::hasattr(tensor, "__dlpack_device__")) {
    // Asked first: to export a tensor of a GPU may start it.
    const auto device = tensor.attr("__dlpack_device__")().cast<std::pair<int, int>>();
    if (!IsReachable(device.first)) return Fail(Status::kUnsupported, Elsewhere(device.first));
    on_gpu = device.first == kCuda;
  }
  auto capsule = ExportCapsule(tensor, on_gpu);
  if (!capsule) return tl::unexpected(capsule.error());
  TensorMemory memory;
  const DlTensor* exported = nullptr;
  if (PyCapsule_IsValid(capsule->ptr(), "dltensor_versioned")) {
    const auto* one =
        static_cast<DlVersioned*>(PyCapsule_GetPointer(capsule->ptr(), "dltensor_versioned"));
    if (one->major != kMajorVersion) {
      return Fail(Status::kUnsupported,
                  fmt::format("is a tensor by DLPack {}, and kvpool knows versions up to 1: use "
                              "an older release of its library",
                              one->major));
    }
    memory.read_only = (one->flags & kReadOnly) != 0;
    exported = &one->tensor;
  } else if (PyCapsule_IsValid(capsule->ptr(), "dltensor")) {
    exported = static_cast<DlTensor*>(PyCapsule_GetPointer(capsule->ptr(), "dltensor"));
  } else {
    return Fail(Status::kInvalid, "has a __dlpack__ that gives no DLPack capsule");
  }
  const std::int32_t device = exported->device.type;
  if (!IsReachable(device)) return Fail(Status::kUnsupported, Elsewhere(device));
  if (on_gpu != (device == kCuda)) {
    return Fail(Status::kInvalid,
                "is a tensor whose __dlpack_device__ is not the one that __dlpack__ gives");
  }
  auto bytes = BytesOf(*exported);
  if (!bytes) return tl::unexpected(bytes.error());
  if (*bytes != 0 && !IsContiguous(*exported)) {
    return Fail(Status::kInvalid,
                "is not contiguous: give tensor.contiguous(), or its runs one by "
                "one as a sequence of buffers");
  }
  memory.data = static_cast<std::byte*>(exported->data) + exported->byte_offset;
  memory.bytes = *bytes;
  if (on_gpu) {
    memory.kind = MemoryKind::kGpu;
    memory.work = GpuWork{exported->device.id, gpu::kDefaultStream};
  }
  memory.owner = std::move(*capsule);
  return memory;
}

}  // namespace kvpool::python
