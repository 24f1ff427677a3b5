#include "mem/page_calls.h"

#include <linux/mman.h>
#include <numaif.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <climits>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

namespace kvpool::mem {

int MapAligned(const MappingRequest& request, std::span<std::byte>& mapped) {
  const std::uint64_t bytes = request.bytes;
  // Reserves an address range with room to align, then maps over the aligned part.
  void* reserved = ::mmap(nullptr, bytes + kHugePage, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return errno;
  auto* begin = static_cast<std::byte*>(reserved);
  const std::uint64_t beyond = reinterpret_cast<std::uintptr_t>(begin) % kHugePage;
  auto* aligned = begin + (beyond == 0 ? 0 : kHugePage - beyond);
  int flags = MAP_FIXED | (request.fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS);
  if (request.hugepages) flags |= MAP_HUGETLB | MAP_HUGE_2MB;
  const int protection = request.writable ? PROT_READ | PROT_WRITE : PROT_READ;
  if (::mmap(aligned, bytes, protection, flags, request.fd, 0) == MAP_FAILED) {
    const int error = errno;
    ::munmap(begin, bytes + kHugePage);
    return error;
  }
  if (aligned > begin) ::munmap(begin, static_cast<std::size_t>(aligned - begin));
  auto* end = aligned + bytes;
  ::munmap(end, static_cast<std::size_t>(begin + bytes + kHugePage - end));
  mapped = {aligned, bytes};
  return 0;
}

int BindPages(std::span<std::byte> bytes, int numa_node) {
  constexpr auto kBits = sizeof(unsigned long) * CHAR_BIT;
  const auto node = static_cast<std::size_t>(numa_node);
  std::array<unsigned long, 1024 / kBits> mask{};
  mask[node / kBits] = 1UL << (node % kBits);
  // The kernel reads one bit less than it is told.
  const auto result =
      ::mbind(bytes.data(), bytes.size(), MPOL_BIND, mask.data(), mask.size() * kBits + 1, 0);
  return result == 0 ? 0 : errno;
}

int PopulatePages(std::span<std::byte> bytes, bool may_touch) {
  int result;
  do {
    result = ::madvise(bytes.data(), bytes.size(), MADV_POPULATE_WRITE);
  } while (result != 0 && (errno == EINTR || errno == EAGAIN));
  if (result == 0) return 0;
  if (errno != EINVAL || !may_touch) return errno;
  for (std::uint64_t at = 0; at < bytes.size(); at += kSmallPage) {
    *reinterpret_cast<volatile std::byte*>(bytes.data() + at) = std::byte{0};
  }
  return 0;
}

void CollapsePages(std::span<std::byte> bytes) {
  for (std::uint64_t at = 0; at < bytes.size(); at += kHugePage) {
    if (::madvise(bytes.data() + at, kSmallPage, MADV_POPULATE_WRITE) != 0) return;
  }
  ::madvise(bytes.data(), bytes.size(), MADV_COLLAPSE);
}

bool LockPages(std::span<std::byte> bytes, bool now) {
  return ::mlock2(bytes.data(), bytes.size(), now ? 0u : unsigned{MLOCK_ONFAULT}) == 0;
}

}  // namespace kvpool::mem
