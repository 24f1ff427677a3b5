// Handle: an allocation of a GPU's memory on its way from the process that has it to another one.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "base/descriptor.h"

namespace kvpool::gpu {

struct Handle {
  static constexpr std::size_t kBytes = 64;  // of a CUipcMemHandle

  std::array<std::byte, kBytes> bytes{};
  // Travels with the bytes, and nobody can forge it. None: who knows the bytes has the handle. A
  // kind of GPU has one always, or never; the other is refused.
  Descriptor descriptor;
};

// Another process' allocation, mapped in this one until this goes, when no copy uses it any more.
// Threads: immutable.
class ImportedMemory {
 public:
  virtual ~ImportedMemory() = default;
  virtual std::span<std::byte> bytes() const = 0;  // addresses of the GPU's memory
};

}  // namespace kvpool::gpu
