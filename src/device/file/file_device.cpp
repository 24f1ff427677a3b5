#include "device/file/file_device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/units.h"
#include "device/file/drive_device.h"
#include "device/file/filesystem.h"

namespace kvpool::device {
namespace {

namespace fs = std::filesystem;

Result<std::uint64_t> SizeOf(int fd, const std::string& path) {
  struct stat stat{};
  if (::fstat(fd, &stat) != 0) return SystemFailure("read the size of", path, errno);
  if (S_ISREG(stat.st_mode)) return static_cast<std::uint64_t>(stat.st_size);
  return Fail(Status::kInvalid,
              fmt::format("{} is not a regular file: name one, or set the device's kind to block "
                          "where it is a drive",
                          path));
}

struct OpenFile {
  Descriptor fd;
  bool direct = true;
  std::uint64_t bytes = 0;
  Filesystem filesystem;
};

// Opens for reading and writing past the page cache, or through it where that is accepted.
Result<OpenFile> OpenForTransfers(const std::string& path, bool accept_buffered) {
  OpenFile file;
  file.fd = OpenPath(path, O_RDWR | O_DIRECT);
  if (!file.fd && errno == EINVAL) {
    file.direct = false;
    file.fd = OpenPath(path, O_RDWR);
  }
  if (!file.fd) return SystemFailure("open", path, errno);
  auto size = SizeOf(file.fd.get(), path);
  if (!size) return tl::unexpected(size.error());
  file.bytes = *size;
  file.filesystem = FilesystemOf(file.fd.get());
  if (!file.direct && !accept_buffered) {
    return Fail(
        Status::kUnsupported,
        fmt::format("{} lies on {}, which refuses O_DIRECT: choose a folder on another "
                    "filesystem (ext4 and xfs take it), or set accept_buffered to go through "
                    "the page cache",
                    path, file.filesystem.name),
        EINVAL);
  }
  return file;
}

// Against a second process, and a second opening in this one.
Result<void> Hold(int fd, const std::string& path) {
  int error = 0;
  const bool held = Insist([&] {
    error = ::flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    return error != EWOULDBLOCK && error != EINTR;
  });
  if (error == 0) return {};
  if (held) return SystemFailure("lock", path, error);
  return Fail(Status::kBusy,
              fmt::format("{} is in use by another pool or process: close that one first", path),
              EWOULDBLOCK);
}

// Allocates [0, bytes); with zeros where the filesystem cannot reserve space.
int Allocate(int fd, std::uint64_t bytes) {
  int result;
  do {
    result = ::fallocate(fd, 0, 0, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  } while (result == EINTR);
  if (result != EOPNOTSUPP) return result;
  const std::vector<std::byte> zeros(kMiB);
  for (std::uint64_t at = 0; at < bytes;) {
    const auto length = std::min<std::uint64_t>(zeros.size(), bytes - at);
    const ssize_t written = ::pwrite(fd, zeros.data(), length, static_cast<off_t>(at));
    if (written < 0 && errno != EINTR) return errno;
    if (written > 0) at += static_cast<std::uint64_t>(written);
  }
  return 0;
}

// Makes the new name itself durable.
Result<void> SyncFolderOf(const fs::path& path) {
  const std::string folder = path.has_parent_path() ? path.parent_path().string() : ".";
  const Descriptor fd = OpenPath(folder, O_RDONLY | O_DIRECTORY);
  if (!fd || ::fsync(fd.get()) != 0) return SystemFailure("sync the folder", folder, errno);
  return {};
}

// Asked before anything is allocated: a filesystem that is full for a moment fails others, too.
Result<void> AllocateAll(int fd, std::uint64_t bytes, const std::string& path) {
  const std::uint64_t free = FilesystemOf(fd).free_bytes;
  const int error = bytes > free ? ENOSPC : Allocate(fd, bytes);
  if (error == 0) return {};
  auto failure = SystemFailure("allocate", path, error);
  if (error == EFBIG) {
    failure.value().message = fmt::format(
        "{} needs a file of {}, which a limit on the size of files forbids ({}): raise it (ulimit "
        "-f), choose another filesystem, or ask for a smaller capacity",
        path, FormatBytes(bytes), std::strerror(error));
  } else if (failure.value().status == Status::kNoSpace) {
    failure.value().message = fmt::format(
        "{} needs {} and its filesystem has {} free ({}): free space, or ask for a smaller "
        "capacity",
        path, FormatBytes(bytes), FormatBytes(free), std::strerror(error));
  }
  return failure;
}

Result<void> Fill(const DeviceConfig& config, const Label& label, int fd) {
  const std::string path = config.path.string();
  auto allocated = AllocateAll(fd, kLabelAreaBytes + label.capacity_bytes, path);
  if (!allocated) return allocated;
  if (::fsync(fd) != 0) return SystemFailure("sync", path, errno);
  auto transfers = OpenForTransfers(path, config.accept_buffered);
  if (!transfers) return tl::unexpected(transfers.error());
  if (auto written = WriteLabelTo(transfers->fd.get(), label, path); !written) return written;
  return SyncFolderOf(config.path);
}

}  // namespace

Result<void> CreateFileDevice(const DeviceConfig& config, const CreateOptions& options) {
  const std::string path = config.path.string();
  Label label = options.label;
  label.capacity_bytes = config.capacity_bytes;
  const Descriptor fd = OpenPath(path, O_RDWR | O_CREAT | O_EXCL);
  if (!fd && errno == EEXIST) {
    return Fail(Status::kExists,
                fmt::format("{} is there already: remove it, or choose another path", path),
                EEXIST);
  }
  if (!fd && errno == ENOENT) {
    return Fail(
        Status::kInvalid,
        fmt::format("the folder of {} does not exist: create it, or choose another path", path),
        ENOENT);
  }
  if (!fd) return SystemFailure("create", path, errno);
  auto filled = Fill(config, label, fd.get());
  if (!filled) ::unlink(path.c_str());
  return filled;
}

Result<Label> ReadFileLabel(const DeviceConfig& config) {
  const std::string path = config.path.string();
  const Descriptor fd = OpenPath(path, O_RDONLY);
  if (!fd) return SystemFailure("open", path, errno);
  if (auto size = SizeOf(fd.get(), path); !size) return tl::unexpected(size.error());
  return ReadLabelFrom(fd.get(), path);
}

Result<void> RemoveFileDevice(const DeviceConfig& config, std::uint64_t pool_id) {
  const std::string path = config.path.string();
  const Descriptor fd = OpenPath(path, O_RDONLY);
  if (!fd) return SystemFailure("open", path, errno);
  auto size = SizeOf(fd.get(), path);
  if (!size) return tl::unexpected(size.error());
  if (auto held = Hold(fd.get(), path); !held) return held;
  auto label = ReadLabelFrom(fd.get(), path);
  if (!label && label.error().status == Status::kNotFound) return tl::unexpected(label.error());
  if (label) {
    const LabelExpectation expected{.pool_id = pool_id, .drive_bytes = ~std::uint64_t{0}};
    if (auto same = CheckLabel(*label, expected, path); !same) return same;
  }
  if (::unlink(path.c_str()) != 0) return SystemFailure("remove", path, errno);
  return {};
}

Result<std::unique_ptr<Device>> OpenFileDevice(const DeviceConfig& config,
                                               const OpenOptions& options) {
  const std::string path = config.path.string();
  auto file = OpenForTransfers(path, config.accept_buffered);
  if (!file) return tl::unexpected(file.error());
  if (auto held = Hold(file->fd.get(), path); !held) return tl::unexpected(held.error());
  auto label = ReadLabelFrom(file->fd.get(), path);
  if (!label) return tl::unexpected(label.error());
  const LabelExpectation expected{.pool_id = options.pool_id,
                                  .device_id = options.device_id,
                                  .capacity_bytes = config.capacity_bytes,
                                  .drive_bytes = file->bytes};
  if (auto same = CheckLabel(*label, expected, path); !same) return tl::unexpected(same.error());

  DriveDeviceOptions drive;
  drive.traits.name = config.name;
  drive.traits.kind = "file";
  drive.traits.description =
      fmt::format("{} on {}", file->direct ? "O_DIRECT" : "through the page cache (no O_DIRECT)",
                  file->filesystem.name);
  drive.traits.capacity_bytes = label->capacity_bytes;
  drive.traits.late_by_address = !file->direct;
  drive.avoid_io_uring = options.avoid_io_uring;
  drive.fd = std::move(file->fd);
  return MakeDriveDevice(std::move(drive));
}

}  // namespace kvpool::device
