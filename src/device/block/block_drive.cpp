#include "device/block/block_drive.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "base/check.h"
#include "device/file/drive_device.h"

namespace kvpool::device {
namespace {

using AlignedMemory = std::unique_ptr<void, decltype(&std::free)>;

AlignedMemory TakeAligned() {
  return {std::aligned_alloc(kIoAlignment, RawDrive::kMaxBytes), &std::free};
}

std::string SerialOf(dev_t device) {
  const std::string folder = fmt::format("/sys/dev/block/{}:{}/", major(device), minor(device));
  for (const char* file : {"device/serial", "serial", "../device/serial", "../serial"}) {
    std::string serial;
    if (std::ifstream(folder + file) >> serial) return serial;
  }
  return "";
}

tl::unexpected<Error> NotABlockDevice(const std::string& path) {
  return Fail(
      Status::kInvalid,
      fmt::format("{} is not a block device: name one, or set the device's kind to file", path));
}

}  // namespace

BlockDrive::BlockDrive(Descriptor fd, const std::string& path) : fd_(std::move(fd)) {
  facts_.where = path;
}

Result<std::unique_ptr<BlockDrive>> BlockDrive::Open(const std::string& path, RawAccess access) {
  // A file of another kind would be opened, too, and O_EXCL means nothing there; some refuse
  // O_DIRECT with an errno that says nothing.
  struct stat stat{};
  if (::stat(path.c_str(), &stat) == 0 && !S_ISBLK(stat.st_mode)) return NotABlockDevice(path);
  const int flags = access == RawAccess::kHold ? O_RDWR | O_EXCL : O_RDONLY;
  Descriptor fd;
  int error = 0;
  Insist([&] {
    fd = OpenPath(path, flags | O_DIRECT);
    error = fd ? 0 : errno;
    return error != EBUSY;
  });
  if (error == EBUSY) {
    return Fail(
        Status::kBusy,
        fmt::format("{} is in use: it is mounted, part of an array, or held by another pool; "
                    "release it first, or choose another drive",
                    path),
        EBUSY);
  }
  if (error != 0) return SystemFailure("open", path, error);
  std::unique_ptr<BlockDrive> drive(new BlockDrive(std::move(fd), path));
  if (auto measured = drive->Measure(); !measured) return tl::unexpected(measured.error());
  return drive;
}

Result<void> BlockDrive::Measure() {
  struct stat stat{};
  if (::fstat(fd_.get(), &stat) != 0) return SystemFailure("look at", facts_.where, errno);
  if (!S_ISBLK(stat.st_mode)) return NotABlockDevice(facts_.where);
  int logical = 0;
  unsigned physical = 0;
  if (::ioctl(fd_.get(), BLKGETSIZE64, &facts_.bytes) != 0 ||
      ::ioctl(fd_.get(), BLKSSZGET, &logical) != 0 ||
      ::ioctl(fd_.get(), BLKPBSZGET, &physical) != 0) {
    return SystemFailure("read the size of", facts_.where, errno);
  }
  facts_.logical_block_bytes = static_cast<std::uint32_t>(logical);
  physical_block_bytes_ = physical;
  facts_.serial = SerialOf(stat.st_rdev);
  if (facts_.logical_block_bytes <= kIoAlignment) return {};
  return Fail(Status::kUnsupported,
              fmt::format("{} has blocks of {} bytes and kvpool transfers multiples of {}: choose "
                          "another drive",
                          facts_.where, facts_.logical_block_bytes, kIoAlignment));
}

Result<void> BlockDrive::Read(std::uint64_t offset, std::span<std::byte> into) {
  KVPOOL_CHECK(into.size() <= kMaxBytes);
  const AlignedMemory memory = TakeAligned();
  const ssize_t got = ::pread(fd_.get(), memory.get(), into.size(), static_cast<off_t>(offset));
  if (got != static_cast<ssize_t>(into.size())) {
    return SystemFailure("read", facts_.where, got < 0 ? errno : EIO);
  }
  std::memcpy(into.data(), memory.get(), into.size());
  return {};
}

Result<void> BlockDrive::Write(std::uint64_t offset, std::span<const std::byte> from) {
  KVPOOL_CHECK(from.size() <= kMaxBytes);
  const AlignedMemory memory = TakeAligned();
  std::memcpy(memory.get(), from.data(), from.size());
  const ssize_t written =
      ::pwrite(fd_.get(), memory.get(), from.size(), static_cast<off_t>(offset));
  if (written != static_cast<ssize_t>(from.size())) {
    return SystemFailure("write", facts_.where, written < 0 ? errno : EIO);
  }
  if (::fsync(fd_.get()) != 0) return SystemFailure("sync", facts_.where, errno);
  return {};
}

// Fails where nothing is to be forgotten, such as on a partition.
void BlockDrive::ForgetPartitions() { ::ioctl(fd_.get(), BLKRRPART); }

Result<bool> BlockDrive::Discard() {
  const std::array<std::uint64_t, 2> all{0, facts_.bytes};
  if (::ioctl(fd_.get(), BLKDISCARD, all.data()) == 0) return true;
  if (errno == EOPNOTSUPP || errno == EINVAL) return false;
  return SystemFailure("discard what is on", facts_.where, errno);
}

}  // namespace kvpool::device
