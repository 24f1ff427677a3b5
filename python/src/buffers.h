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

namespace kvpool::python {

// Raw memory by address, for engines that hand out pointers. Immutable.
struct RawSegment {
  std::uintptr_t address = 0;
  std::uint64_t nbytes = 0;
  pybind11::object owner;
};

enum class Access : std::uint8_t { kRead, kWrite };

// Threads: one, with the GIL; segments() by any.
class Buffers {
 public:
  explicit Buffers(Access access) : access_(access) {}
  ~Buffers();
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;

  // One block a key. A block is one buffer or a sequence of them, as many in every block. Raises
  // Invalid with the place of what does not fit, and Unsupported for memory of a GPU.
  void AddBlocks(pybind11::handle blocks, std::size_t keys);
  // One buffer: its memory.
  void AddBuffer(pybind11::handle buffer);

  std::span<const Segment> segments() const { return segments_; }

 private:
  void AddBlock(pybind11::handle block);
  bool AddView(pybind11::handle buffer);
  void AddTensor(pybind11::handle tensor);
  void Add(void* data, std::uint64_t bytes, pybind11::handle owner);

  [[noreturn]] void Refuse(std::string_view what, Status status = Status::kInvalid) const;

  const Access access_;
  std::optional<std::size_t> block_;  // being read, for what is said of it
  std::vector<Segment> segments_;
  std::deque<Py_buffer> views_;  // never moved: some exporters remember where theirs lies
  std::vector<pybind11::object> owners_;
};

}  // namespace kvpool::python
