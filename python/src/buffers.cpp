#include "python/src/buffers.h"

#include <fmt/format.h>

#include <algorithm>

#include "gpu/await.h"
#include "python/src/errors.h"

namespace kvpool::python {
namespace {

// A block that has several buffers. What has memory of its own is one buffer, sequence or not.
bool IsSequenceOfBuffers(py::handle block) {
  if (PyList_Check(block.ptr()) || PyTuple_Check(block.ptr())) return true;
  return PySequence_Check(block.ptr()) != 0 && !py::isinstance<RawSegment>(block) &&
         PyObject_CheckBuffer(block.ptr()) == 0 && !PyUnicode_Check(block.ptr()) &&
         !IsTensor(block);
}

}  // namespace

Buffers::~Buffers() {
  for (Py_buffer& view : views_) PyBuffer_Release(&view);
}

void Buffers::Refuse(std::string_view what, Status status) const {
  Raise(status, block_ ? fmt::format("block {}: a buffer {}", *block_, what)
                       : fmt::format("a buffer {}", what));
}

void Buffers::AddBlocks(py::handle blocks, std::size_t keys) {
  const bool sequence = PySequence_Check(blocks.ptr()) != 0 && !PyUnicode_Check(blocks.ptr()) &&
                        !PyBytes_Check(blocks.ptr());
  if (!sequence) {
    Raise(Status::kInvalid, fmt::format("blocks are a sequence with one block a key, not {}",
                                        Py_TYPE(blocks.ptr())->tp_name));
  }
  const auto items = py::reinterpret_steal<py::object>(PySequence_Fast(blocks.ptr(), ""));
  if (!items) throw py::error_already_set();
  const auto count = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(items.ptr()));
  if (count != keys) {
    Raise(Status::kInvalid,
          fmt::format("there are {} keys and {} blocks: give one block a key", keys, count));
  }
  segments_.reserve(count);
  std::size_t buffers_per_block = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (static_cast<Py_ssize_t>(i) >= PySequence_Fast_GET_SIZE(items.ptr())) {
      Raise(Status::kInvalid, "the sequence of blocks was changed while it was read");
    }
    const auto block = py::reinterpret_borrow<py::object>(
        PySequence_Fast_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(i)));
    const std::size_t before = segments_.size();
    block_ = i;
    AddBlock(block);
    const std::size_t buffers = segments_.size() - before;
    if (i == 0) buffers_per_block = buffers;
    if (buffers == 0 || buffers != buffers_per_block) {
      Raise(Status::kInvalid,
            fmt::format("block {} has {} buffers and block 0 has {}: every block of a request has "
                        "the same number of them, at least one",
                        i, buffers, buffers_per_block));
    }
  }
  AwaitGpu();
}

void Buffers::AwaitGpu() {
  if (works_.empty()) return;
  Result<void> awaited;
  {
    const py::gil_scoped_release release;
    for (const auto& [work, address] : works_) {
      if (awaited) awaited = gpu::AwaitStream(address, work.stream);
    }
  }
  ValueOrRaise(std::move(awaited));
}

void Buffers::AddBlock(py::handle block) {
  if (!IsSequenceOfBuffers(block)) return AddBuffer(block);
  const auto buffers = py::reinterpret_steal<py::tuple>(PySequence_Tuple(block.ptr()));
  if (!buffers) throw py::error_already_set();
  for (const py::handle buffer : buffers) AddBuffer(buffer);
}

void Buffers::AddBuffer(py::handle buffer) {
  if (py::isinstance<RawSegment>(buffer)) {
    const auto& raw = buffer.cast<const RawSegment&>();
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    return Add({reinterpret_cast<std::byte*>(raw.address), raw.nbytes, raw.kind}, buffer);
  }
  if (AddView(buffer)) return;
  if (IsTensor(buffer)) return AddTensor(buffer);
  if (PyObject_CheckBuffer(buffer.ptr()) != 0) {
    Refuse(
        fmt::format("of type {} does not give its bytes: give a view of them, "
                    "such as array.view(numpy.uint8)",
                    Py_TYPE(buffer.ptr())->tp_name));
  }
  Refuse(fmt::format("is bytes-like, a tensor with __dlpack__, or a kvpool.Segment, not {}",
                     Py_TYPE(buffer.ptr())->tp_name));
}

// False where the object has no buffer to give, and may have a tensor.
bool Buffers::AddView(py::handle buffer) {
  if (PyObject_CheckBuffer(buffer.ptr()) == 0) return false;
  Py_buffer& view = views_.emplace_back();
  const int flags = access_ == Access::kWrite ? PyBUF_WRITABLE : PyBUF_SIMPLE;
  if (PyObject_GetBuffer(buffer.ptr(), &view, flags) == 0) {
    segments_.push_back({static_cast<std::byte*>(view.buf), static_cast<std::uint64_t>(view.len)});
    return true;
  }
  // Why not: ask again for less.
  PyErr_Clear();
  if (PyObject_GetBuffer(buffer.ptr(), &view, PyBUF_FULL_RO) != 0) {
    PyErr_Clear();
    views_.pop_back();
    return false;
  }
  const bool contiguous = PyBuffer_IsContiguous(&view, 'C') != 0;
  PyBuffer_Release(&view);
  views_.pop_back();
  if (!contiguous) {
    Refuse("is not C-contiguous: give its contiguous runs one by one, as a sequence of buffers");
  }
  Refuse("is read-only, and a get writes into it: give a writable one, such as a bytearray");
}

void Buffers::AddTensor(py::handle tensor) {
  auto memory = ReadTensor(tensor);
  if (!memory) Refuse(memory.error().message, memory.error().status);
  if (memory->read_only && access_ == Access::kWrite) {
    Refuse("is a read-only tensor, and a get writes into it: give a copy of it");
  }
  auto* const data = static_cast<std::byte*>(memory->data);
  if (memory->work && memory->bytes != 0) {
    const auto known = std::find_if(works_.begin(), works_.end(),
                                    [&](const auto& one) { return one.first == *memory->work; });
    if (known == works_.end()) works_.emplace_back(*memory->work, data);
  }
  Add({data, memory->bytes, memory->kind}, memory->owner);
}

void Buffers::Add(const Segment& segment, py::handle owner) {
  on_gpu_ |= segment.kind == MemoryKind::kGpu;
  segments_.push_back(segment);
  owners_.push_back(py::reinterpret_borrow<py::object>(owner));
}

}  // namespace kvpool::python
