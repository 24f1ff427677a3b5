#include "gpu/null_exporter.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>

namespace kvpool::gpu {
namespace {

// A line of /proc/self/maps that is of a file.
struct Mapping {
  Range range;
  std::uint64_t offset = 0;
  dev_t device = 0;
  std::uint64_t inode = 0;
};

std::optional<Mapping> Parse(const std::string& line) {
  Mapping one;
  char rights[5] = "";
  unsigned major = 0;
  unsigned minor = 0;
  const int got = std::sscanf(
      line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s %" SCNx64 " %x:%x %" SCNu64, &one.range.begin,
      &one.range.end, rights, &one.offset, &major, &minor, &one.inode);
  if (got != 7 || rights[3] != 's' || one.inode == 0) return std::nullopt;
  one.device = makedev(major, minor);
  return one;
}

// The shared mapping around `address`.
std::optional<Mapping> MappingAround(const std::byte* address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const auto one = Parse(line);
    if (one && one->range.Holds(address, 1)) return one;
  }
  return std::nullopt;
}

// A descriptor of the memfd with that inode, among all that are open; -1: there is none.
int FindMemfd(std::uint64_t inode, dev_t device, struct stat& status) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const int fd = std::atoi(entry.path().filename().c_str());
    const bool same =
        ::fstat(fd, &status) == 0 && status.st_ino == inode && status.st_dev == device;
    if (same && ::fcntl(fd, F_GET_SEALS) >= 0) return fd;
  }
  return -1;
}

}  // namespace

Allocation NullExporter::Around(const std::byte* address) {
  const auto mapping = MappingAround(address);
  struct stat status{};
  if (!mapping || FindMemfd(mapping->inode, mapping->device, status) < 0) return {};
  const std::uintptr_t begin = mapping->range.begin - mapping->offset;
  return {
      {begin, begin + static_cast<std::uintptr_t>(status.st_size)}, mapping->inode, "null", true};
}

Result<Handle> NullExporter::Export(const Allocation& allocation) {
  const auto mapping = MappingAround(allocation.range.first());
  struct stat status{};
  const int fd = mapping && mapping->inode == allocation.id
                     ? FindMemfd(mapping->inode, mapping->device, status)
                     : -1;
  Handle handle;
  handle.descriptor = Descriptor(fd < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (handle.descriptor) return handle;
  return Fail(Status::kIoError,
              "the memfd behind this memory cannot be had: keep it open, or raise the open file "
              "limit (ulimit -n)");
}

}  // namespace kvpool::gpu
