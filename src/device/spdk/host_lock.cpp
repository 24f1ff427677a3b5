#include "device/spdk/host_lock.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/checksum.h"

namespace kvpool::device {

Result<HostLock> HostLock::Take(const std::string& name) {
  // Names of sockets are short; a digest of any name fits.
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("kvpool-drive-{:016x}", Digest(name));
  path.copy(address.sun_path + 1, sizeof address.sun_path - 1);  // a zero in front: abstract
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + path.size());
  Descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int error = fd ? 0 : errno;
  if (fd && ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    error = errno;
  }
  if (error == 0) return HostLock(std::move(fd));
  if (error == EADDRINUSE) {
    return Fail(Status::kBusy,
                fmt::format("{} is in use by another pool or process: close that one first", name),
                error);
  }
  return Fail(Status::kNoSpace,
              fmt::format("cannot lock {}: {}; raise the limit on open files (ulimit -n)", name,
                          std::strerror(error)),
              error);
}

}  // namespace kvpool::device
