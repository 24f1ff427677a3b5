#include "bench/compare/scratch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

namespace kvpool::bench {
namespace {

constexpr std::string_view kPrefix = "kvpool-bench-";

std::string NameOf(long type) {
  static constexpr std::pair<long, std::string_view> kNames[] = {
      {0xef53, "ext4"},        {0x58465342, "xfs"}, {0x9123683e, "btrfs"}, {0x01021994, "tmpfs"},
      {0x794c7630, "overlay"}, {0x6969, "nfs"},     {0x2fc12fc1, "zfs"},   {0xf2f52010, "f2fs"},
      {0x858458f6, "ramfs"},   {0x01021997, "9p"},  {0x65735546, "fuse"},  {0x4d44, "vfat"}};
  for (const auto& [number, name] : kNames) {
    if (number == type) return std::string(name);
  }
  return fmt::format("filesystem type {:#x}", type);
}

void RemoveLeftovers(const std::filesystem::path& dir) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(dir, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    pid_t owner = 0;
    const char* digits = name.data() + kPrefix.size();
    const auto [parsed, bad] = std::from_chars(digits, name.data() + name.size(), owner);
    if (bad != std::errc() || owner <= 0) continue;
    if (kill(owner, 0) == -1 && errno == ESRCH) {
      std::error_code ignored;
      std::filesystem::remove_all(it->path(), ignored);
    }
  }
}

}  // namespace

Result<Scratch> Scratch::Make(const std::filesystem::path& dir) {
  std::error_code error;
  if (!std::filesystem::is_directory(dir, error)) {
    return Fail(Status::kInvalid,
                fmt::format("there is no folder {}: make it, or name another.", dir.string()));
  }
  RemoveLeftovers(dir);
  std::string path = (dir / fmt::format("{}{}-XXXXXX", kPrefix, getpid())).string();
  if (mkdtemp(path.data()) == nullptr) {
    return Fail(Status::kInvalid,
                fmt::format("cannot write to the folder {}: {}; name one you may write to.",
                            dir.string(), std::strerror(errno)),
                errno);
  }
  return Scratch(path);
}

Scratch::~Scratch() {
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Result<Filesystem> FilesystemOf(const std::filesystem::path& path) {
  struct statfs kind{};
  struct statvfs space{};
  if (statfs(path.c_str(), &kind) != 0 || statvfs(path.c_str(), &space) != 0) {
    return Fail(Status::kInvalid,
                fmt::format("cannot look at {}: {}.", path.string(), std::strerror(errno)), errno);
  }
  Filesystem found;
  found.type = NameOf(static_cast<long>(static_cast<unsigned long>(kind.f_type) & 0xffffffff));
  found.free_bytes = std::uint64_t{space.f_bavail} * space.f_frsize;
  found.in_memory = found.type == "tmpfs" || found.type == "ramfs";
  return found;
}

bool DropFromPageCache(const std::filesystem::path& file) {
  const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool synced = fdatasync(fd) == 0;
  const bool dropped = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
  close(fd);
  return synced && dropped;
}

}  // namespace kvpool::bench
