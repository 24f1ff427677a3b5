// Addresses that belong together.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvpool::gpu {

// [begin, end).
struct Range {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;

  const std::byte* first() const {
    return reinterpret_cast<const std::byte*>(begin);  // NOLINT(performance-no-int-to-ptr)
  }
  bool Holds(const std::byte* data, std::uint64_t bytes) const {
    const auto at = reinterpret_cast<std::uintptr_t>(data);
    return at >= begin && at < end && bytes <= end - at;
  }
};

}  // namespace kvpool::gpu
