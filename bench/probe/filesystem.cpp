#include "bench/probe/filesystem.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "device/mounts.h"

namespace kvpool::probe {

namespace fs = std::filesystem;

Result<Filesystem> FilesystemOf(const fs::path& path) {
  struct stat status{};
  struct statvfs space{};
  if (stat(path.c_str(), &status) != 0 || statvfs(path.c_str(), &space) != 0) {
    return Fail(Status::kInvalid,
                fmt::format("cannot look at {} ({}): name a folder or a block device that exists",
                            path.string(), std::strerror(errno)),
                errno);
  }
  Filesystem found;
  found.free_bytes = std::uint64_t{space.f_bavail} * space.f_frsize;
  const std::string device = fmt::format("{}:{}", major(status.st_dev), minor(status.st_dev));
  for (const device::Mount& mount : device::Mounts()) {
    if (mount.device != device) continue;
    found.type = mount.type;
    found.source = mount.source;
    found.mount = mount.point;
  }
  return found;
}

bool TakesDirect(const fs::path& folder) {
  std::string name = (folder / "kvpool-direct-XXXXXX").string();
  const int fd = mkostemp(name.data(), O_CLOEXEC | O_DIRECT);
  // Where O_DIRECT is refused, the file may have been made all the same.
  unlink(name.c_str());
  if (fd < 0) return false;
  close(fd);
  return true;
}

}  // namespace kvpool::probe
