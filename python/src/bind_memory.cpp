#include <fmt/format.h>
#include <pybind11/pybind11.h>

#include "python/src/bind.h"
#include "python/src/buffers.h"
#include "python/src/errors.h"
#include "python/src/memory.h"

namespace kvpool::python {
namespace {

RawSegment MakeSegment(std::int64_t address, std::int64_t nbytes, py::object owner, bool gpu) {
  if (nbytes < 0 || (address == 0 && nbytes != 0)) {
    Raise(Status::kInvalid, "a Segment is an address other than 0 and a number of bytes from 0");
  }
  return {static_cast<std::uintptr_t>(address), static_cast<std::uint64_t>(nbytes),
          std::move(owner), gpu ? MemoryKind::kGpu : MemoryKind::kHost};
}

py::buffer_info BufferOf(PoolMemory& memory) {
  const std::span<std::byte> bytes = memory.memory().bytes();
  return py::buffer_info(reinterpret_cast<std::uint8_t*>(bytes.data()),
                         static_cast<py::ssize_t>(bytes.size()));
}

int FileOf(const PoolMemory& memory) {
  const int descriptor = memory.memory().descriptor();
  if (descriptor < 0) {
    Raise(Status::kUnsupported,
          "this memory is private to its process: allocate it with shareable=True");
  }
  return descriptor;
}

}  // namespace

void BindMemory(py::module_& module) {
  py::class_<RawSegment>(module, "Segment",
                         "Raw memory by address, for engines that hand out pointers. `owner` is "
                         "kept alive with it. `gpu`: the address is of a GPU's memory, and nobody "
                         "waits for what is under way there: what a put reads is final, and what a "
                         "get writes is not in use, when the request is submitted. Immutable.")
      .def(py::init(&MakeSegment), py::arg("address"), py::arg("nbytes"),
           py::arg("owner") = py::none(), py::arg("gpu") = false)
      .def_readonly("address", &RawSegment::address)
      .def_readonly("nbytes", &RawSegment::nbytes)
      .def_readonly("owner", &RawSegment::owner)
      .def_property_readonly(
          "gpu", [](const RawSegment& segment) { return segment.kind == MemoryKind::kGpu; },
          "Whether the address is of a GPU's memory.")
      .def("__repr__", [](const RawSegment& segment) {
        return fmt::format("kvpool.Segment({:#x}, {}{})", segment.address, segment.nbytes,
                           segment.kind == MemoryKind::kGpu ? ", gpu=True" : "");
      });
  py::class_<PoolMemory>(
      module, "Memory", py::buffer_protocol(),
      "2 MiB-aligned memory for transfers without a copy; see Pool.allocate. "
      "A writable buffer of bytes: memoryview(memory), numpy.frombuffer(memory), "
      "torch.frombuffer(memory, dtype=...).")
      .def_buffer(&BufferOf)
      .def("fileno", &FileOf,
           "Of shareable memory: its memfd, sealed at nbytes, for other processes to map. It is "
           "closed with the memory.")
      .def_property_readonly(
          "nbytes", [](const PoolMemory& memory) { return memory.memory().bytes().size(); },
          "Its length.")
      .def_property_readonly(
          "description", [](const PoolMemory& memory) { return memory.memory().description(); },
          "What it is made of, such as \"hugepages, locked\".");
  py::class_<Registration>(module, "Registration",
                           "The caller's memory, prepared for transfers until it is released or "
                           "collected; keeps the buffer alive.")
      .def("release", &Registration::Release,
           "Lets go of the memory, when no request uses it any more. Twice is once.");
}

}  // namespace kvpool::python
