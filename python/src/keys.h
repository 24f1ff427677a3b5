// Keys: the names of blocks that a call brings.
#pragma once

#include <pybind11/pybind11.h>

#include <span>
#include <string_view>
#include <vector>

#include "kvpool/key.h"

namespace kvpool::python {

// The bytes of a key: bytes, or a str's UTF-8, which stay for as long as the object does.
// Raises Invalid for anything else.
std::string_view KeyBytes(pybind11::handle key);

// Keeps the objects it was made of. Threads: one, with the GIL; view() by any.
class Keys {
 public:
  explicit Keys(pybind11::handle sequence);
  std::span<const Key> view() const { return keys_; }
  std::size_t size() const { return keys_.size(); }

 private:
  pybind11::tuple objects_;
  std::vector<Key> keys_;
};

}  // namespace kvpool::python
