// Place: bytes in a region, by its number with one connection.
#pragma once

#include <cstdint>

namespace kvpool::ipc {

struct Place {
  std::uint32_t region = 0;
  std::uint64_t offset = 0;
};

}  // namespace kvpool::ipc
