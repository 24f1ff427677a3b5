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

bool IsOf(const Mapping& mapping, const struct stat& status) {
  return status.st_ino == mapping.inode && status.st_dev == mapping.device;
}

struct Memfd {
  std::filesystem::path path;  // in /proc/self/fd
  std::uint64_t bytes = 0;
};

// The memfd that is mapped there, if it is open. Descriptors are others' to close at any moment, so
// they are looked at by their paths.
std::optional<Memfd> MemfdOf(const Mapping& mapping) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const auto target = std::filesystem::read_symlink(entry.path(), error);
    if (error || !target.native().starts_with("/memfd:")) continue;
    struct stat status{};
    if (::stat(entry.path().c_str(), &status) != 0 || !IsOf(mapping, status)) continue;
    return Memfd{entry.path(), static_cast<std::uint64_t>(status.st_size)};
  }
  return std::nullopt;
}

}  // namespace

Allocation NullExporter::Around(const std::byte* address) {
  const auto mapping = MappingAround(address);
  const auto memfd = mapping ? MemfdOf(*mapping) : std::nullopt;
  if (!memfd) return {};
  const std::uintptr_t begin = mapping->range.begin - mapping->offset;
  return {{begin, begin + memfd->bytes}, mapping->inode, "null", true};
}

Result<Handle> NullExporter::Export(const Allocation& allocation) {
  const auto mapping = MappingAround(allocation.range.first());
  const auto memfd = mapping && mapping->inode == allocation.id ? MemfdOf(*mapping) : std::nullopt;
  Handle handle;
  if (memfd) handle.descriptor = Descriptor(::open(memfd->path.c_str(), O_RDWR | O_CLOEXEC));
  struct stat status{};
  if (handle.descriptor && ::fstat(handle.descriptor.get(), &status) == 0 &&
      IsOf(*mapping, status)) {
    return handle;
  }
  return Fail(Status::kIoError,
              "the memfd behind this memory cannot be had: keep it open, or raise the open file "
              "limit (ulimit -n)");
}

}  // namespace kvpool::gpu
