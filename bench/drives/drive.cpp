#include "bench/drives/drive.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/descriptor.h"
#include "base/limits.h"

namespace kvpool::bench {

using device::MachineDrive;

Result<MachineDrive> FindDrive(const std::filesystem::path& block) {
  std::error_code error;
  const auto real = std::filesystem::canonical(block, error);
  const auto drives = device::FindDrives();
  const auto found = std::find_if(drives.begin(), drives.end(), [&](const MachineDrive& one) {
    return !error && one.block == real;
  });
  if (found != drives.end()) return *found;
  return Fail(Status::kInvalid,
              fmt::format("{} is not a whole drive: name one as /dev/nvme0n1 (kvpool probe lists "
                          "them).",
                          block.string()));
}

Result<void> FillStart(const MachineDrive& drive, std::span<const std::byte> content,
                       std::uint64_t bytes) {
  const std::size_t pieces = content.size() / kMiB;
  const Descriptor fd(open(drive.block.c_str(), O_WRONLY | O_DIRECT | O_EXCL | O_CLOEXEC));
  bool good = static_cast<bool>(fd);
  for (std::uint64_t at = 0; good && at < bytes; at += kMiB) {
    const auto piece = content.subspan(at / kMiB % pieces * kMiB, kMiB);
    good =
        pwrite(fd.get(), piece.data(), kMiB, static_cast<off_t>(at)) == static_cast<ssize_t>(kMiB);
  }
  if (good && fsync(fd.get()) == 0) return {};
  return Fail(Status::kIoError,
              fmt::format("cannot write to {}: {}.", drive.block.string(), std::strerror(errno)),
              errno);
}

Result<void> WipeEnds(const MachineDrive& drive) {
  const Descriptor fd(open(drive.block.c_str(), O_WRONLY | O_EXCL | O_CLOEXEC));
  const std::vector<std::byte> zeros(std::min<std::uint64_t>(kMiB, drive.bytes / 2));
  bool good = static_cast<bool>(fd);
  for (const std::uint64_t at : {std::uint64_t{0}, drive.bytes - zeros.size()}) {
    good = good && pwrite(fd.get(), zeros.data(), zeros.size(), static_cast<off_t>(at)) ==
                       static_cast<ssize_t>(zeros.size());
  }
  if (good && fsync(fd.get()) == 0) return {};
  return Fail(Status::kIoError,
              fmt::format("cannot wipe {}: {}.", drive.block.string(), std::strerror(errno)),
              errno);
}

}  // namespace kvpool::bench
