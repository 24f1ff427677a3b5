// Buffers: the callers' memory as segments, kept until the pool is done with it.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "kvpool/request.h"
#include "kvpool/status.h"
#include "python/src/dlpack.h"

namespace kvpool::python {

// Raw memory by address, for engines that hand out pointers. Immutable.
struct RawSegment {
  std::uintptr_t address = 0;
  std::uint64_t nbytes = 0;
  pybind11::object owner;
  MemoryKind kind = MemoryKind::kHost;
};

enum class Access : std::uint8_t { kRead, kWrite };

// Threads: one, with the GIL; segments() by any.
class Buffers {
 public:
  explicit Buffers(Access access) : access_(access) {}
  ~Buffers();
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;

  // One block a key. A block is one buffer or a sequence of them, as many in every block. Waits
  // without the GIL for what libraries do with their tensors on a GPU. Raises Invalid with the
  // place of what does not fit, Unsupported for memory that cannot be reached, IoError for a GPU
  // that failed.
  void AddBlocks(pybind11::handle blocks, std::size_t keys);
  // One buffer: its memory.
  void AddBuffer(pybind11::handle buffer);

  std::span<const Segment> segments() const { return segments_; }
  bool on_gpu() const { return on_gpu_; }  // any of them

 private:
  void AddBlock(pybind11::handle block);
  bool AddView(pybind11::handle buffer);
  void AddTensor(pybind11::handle tensor);
  void Add(const Segment& segment, pybind11::handle owner);
  void AwaitGpu();

  [[noreturn]] void Refuse(std::string_view what, Status status = Status::kInvalid) const;

  const Access access_;
  std::optional<std::size_t> block_;  // being read, for what is said of it
  std::vector<Segment> segments_;
  bool on_gpu_ = false;
  std::vector<std::pair<GpuWork, const std::byte*>> works_;  // and an address on their GPU
  std::deque<Py_buffer> views_;  // never moved: some exporters remember where theirs lies
  std::vector<pybind11::object> owners_;
};

}  // namespace kvpool::python
