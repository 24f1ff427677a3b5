// What an NVMe controller and a namespace say of themselves (NVM Express base specification 2.0,
// figures 275 and 97 of the NVM command set's). Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace kvpool::device {

inline constexpr std::size_t kIdentifyBytes = 4096;
using IdentifyPage = std::span<const std::byte, kIdentifyBytes>;

struct NvmeController {
  std::string serial;
  std::string model;
  std::uint64_t max_transfer_bytes = 0;  // of one command; 0: no limit
  bool volatile_cache = false;           // a write is durable only after a flush
  bool deallocates = false;              // knows dataset management
};

struct NvmeNamespace {
  std::uint64_t blocks = 0;
  std::uint64_t block_bytes = 0;     // 0: not a size that makes sense
  std::uint32_t metadata_bytes = 0;  // beside or behind each block
};

NvmeController DecodeController(IdentifyPage page);
NvmeNamespace DecodeNamespace(IdentifyPage page);

}  // namespace kvpool::device
