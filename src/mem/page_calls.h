// What the kernel is asked for where memory is made. Each returns 0, or the errno of what refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/limits.h"

namespace kvpool::mem {

inline constexpr std::uint64_t kHugePage = 2 * kMiB;
inline constexpr std::uint64_t kSmallPage = 4 * kKiB;

struct MappingRequest {
  std::uint64_t bytes = 0;  // whole hugepages
  int fd = -1;              // -1: private anonymous memory
  bool writable = true;
  bool hugepages = false;  // reserved ones; of private memory only
};
// Maps at an address that is a multiple of a hugepage.
int MapAligned(const MappingRequest& request, std::span<std::byte>& mapped);

int BindPages(std::span<std::byte> bytes, int numa_node);
// Has every page there now. `may_touch`: one by one, where the kernel knows no other way (before
// Linux 5.14); a page that cannot be had then ends the process.
int PopulatePages(std::span<std::byte> bytes, bool may_touch);
// Shared memory rarely has transparent hugepages by itself; from Linux 6.1 on it has when asked so,
// where a page is there already.
void CollapsePages(std::span<std::byte> bytes);
// `now`: all pages are there, or shall be; else each as it comes.
bool LockPages(std::span<std::byte> bytes, bool now);

}  // namespace kvpool::mem
