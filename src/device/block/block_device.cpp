#include "device/block/block_device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>

#include "base/units.h"
#include "device/block/signatures.h"
#include "device/file/drive_device.h"

namespace kvpool::device {
namespace {

struct BlockDrive {
  Descriptor fd;
  std::uint64_t bytes = 0;
  std::uint32_t logical_block_bytes = 0;
  std::uint32_t physical_block_bytes = 0;
  std::string serial;  // empty where it tells none
};

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

Result<void> Measure(BlockDrive& drive, const std::string& path) {
  struct stat stat{};
  if (::fstat(drive.fd.get(), &stat) != 0) return SystemFailure("look at", path, errno);
  if (!S_ISBLK(stat.st_mode)) return NotABlockDevice(path);
  int logical = 0;
  unsigned physical = 0;
  if (::ioctl(drive.fd.get(), BLKGETSIZE64, &drive.bytes) != 0 ||
      ::ioctl(drive.fd.get(), BLKSSZGET, &logical) != 0 ||
      ::ioctl(drive.fd.get(), BLKPBSZGET, &physical) != 0) {
    return SystemFailure("read the size of", path, errno);
  }
  drive.logical_block_bytes = static_cast<std::uint32_t>(logical);
  drive.physical_block_bytes = physical;
  drive.serial = SerialOf(stat.st_rdev);
  if (drive.logical_block_bytes <= kIoAlignment) return {};
  return Fail(Status::kUnsupported,
              fmt::format("{} has blocks of {} bytes and kvpool transfers multiples of {}: choose "
                          "another drive",
                          path, drive.logical_block_bytes, kIoAlignment));
}

// `flags`: O_RDWR | O_EXCL claims the drive; nobody else can mount or claim it then.
Result<BlockDrive> OpenDrive(const std::string& path, int flags) {
  // A file of another kind would be opened, too, and O_EXCL means nothing there; some refuse
  // O_DIRECT with an errno that says nothing.
  struct stat stat{};
  if (::stat(path.c_str(), &stat) == 0 && !S_ISBLK(stat.st_mode)) return NotABlockDevice(path);
  BlockDrive drive;
  int error = 0;
  Insist([&] {
    drive.fd = OpenPath(path, flags | O_DIRECT);
    error = drive.fd ? 0 : errno;
    return error != EBUSY;
  });
  if (error == EBUSY) {
    return Fail(
        Status::kInvalid,
        fmt::format("{} is in use: it is mounted, part of an array, or held by another pool; "
                    "release it first, or choose another drive",
                    path),
        EBUSY);
  }
  if (error != 0) return SystemFailure("open", path, error);
  if (auto measured = Measure(drive, path); !measured) return tl::unexpected(measured.error());
  return drive;
}

std::uint64_t UsableBytes(const BlockDrive& drive) {
  const std::uint64_t whole = drive.bytes / kSlabBytes * kSlabBytes;
  return whole > kLabelAreaBytes ? whole - kLabelAreaBytes : 0;
}

std::string SignaturesOn(const BlockDrive& drive) {
  constexpr std::size_t kChunk = 256 * kKiB;
  const std::unique_ptr<void, decltype(&std::free)> memory(std::aligned_alloc(4096, kChunk),
                                                           &std::free);
  return FindSignatures(drive.bytes, [&](std::uint64_t offset, std::span<std::byte> into) {
    const std::size_t whole = (into.size() + 4095) / 4096 * 4096;
    const ssize_t got =
        ::pread(drive.fd.get(), memory.get(), std::min(whole, kChunk), static_cast<off_t>(offset));
    if (got < static_cast<ssize_t>(into.size())) return false;
    std::memcpy(into.data(), memory.get(), into.size());
    return true;
  });
}

Result<void> AskTwice(const BlockDrive& drive, const std::string& path,
                      const CreateOptions& options) {
  const std::string found = SignaturesOn(drive);
  if (found.empty()) return {};
  const bool named =
      options.confirm == path || (!drive.serial.empty() && options.confirm == drive.serial);
  if (options.force && named) return {};
  const std::string serial =
      drive.serial.empty() ? "" : fmt::format(" or its serial {}", drive.serial);
  return Fail(
      Status::kExists,
      fmt::format("{} carries {}, which would be lost: choose another drive, or both force it "
                  "and repeat its path{}",
                  path, found, serial));
}

Result<Label> OwnLabel(const BlockDrive& drive, const std::string& path, std::uint64_t pool_id,
                       std::uint64_t device_id, std::uint64_t capacity_bytes) {
  auto label = ReadLabelFrom(drive.fd.get(), path);
  if (!label) return label;
  const LabelExpectation expected{pool_id, device_id, capacity_bytes, drive.bytes};
  if (auto same = CheckLabel(*label, expected, path); !same) return tl::unexpected(same.error());
  return label;
}

}  // namespace

Result<void> CreateBlockDevice(const DeviceConfig& config, const CreateOptions& options) {
  const std::string path = config.path.string();
  auto drive = OpenDrive(path, O_RDWR | O_EXCL);
  if (!drive) return tl::unexpected(drive.error());
  const std::uint64_t usable = UsableBytes(*drive);
  if (usable == 0 || config.capacity_bytes > usable) {
    return Fail(Status::kNoSpace,
                fmt::format("{} has {} for a pool and {} are asked for: ask for no more, or for 0, "
                            "which means all of it",
                            path, FormatBytes(usable), FormatBytes(config.capacity_bytes)));
  }
  if (auto told = AskTwice(*drive, path, options); !told) return told;
  Label label = options.label;
  label.capacity_bytes = config.capacity_bytes > 0 ? config.capacity_bytes : usable;
  return WriteLabelTo(drive->fd.get(), label, path);
}

Result<Label> ReadBlockLabel(const DeviceConfig& config) {
  auto drive = OpenDrive(config.path.string(), O_RDONLY);
  if (!drive) return tl::unexpected(drive.error());
  return ReadLabelFrom(drive->fd.get(), config.path.string());
}

Result<void> RemoveBlockDevice(const DeviceConfig& config, std::uint64_t pool_id) {
  const std::string path = config.path.string();
  auto drive = OpenDrive(path, O_RDWR | O_EXCL);
  if (!drive) return tl::unexpected(drive.error());
  auto label = ReadLabelFrom(drive->fd.get(), path);
  if (!label && label.error().status == Status::kNotFound) return tl::unexpected(label.error());
  if (label) {
    const LabelExpectation expected{.pool_id = pool_id, .drive_bytes = ~std::uint64_t{0}};
    if (auto same = CheckLabel(*label, expected, path); !same) return same;
  }
  return WipeLabelOn(drive->fd.get(), path);
}

Result<std::unique_ptr<Device>> OpenBlockDevice(const DeviceConfig& config,
                                                const OpenOptions& options) {
  auto drive = OpenDrive(config.path.string(), O_RDWR | O_EXCL);
  if (!drive) return tl::unexpected(drive.error());
  auto label = OwnLabel(*drive, config.path.string(), options.pool_id, options.device_id,
                        config.capacity_bytes);
  if (!label) return tl::unexpected(label.error());
  DriveDeviceOptions made;
  made.traits.name = config.name;
  made.traits.kind = "block";
  made.traits.description = fmt::format("O_DIRECT, raw blocks of {} bytes ({} physical){}",
                                        drive->logical_block_bytes, drive->physical_block_bytes,
                                        drive->serial.empty() ? "" : ", serial " + drive->serial);
  for (const std::string& remark : options.remarks) made.traits.description += "; " + remark;
  made.traits.capacity_bytes = label->capacity_bytes;
  made.avoid_io_uring = options.avoid_io_uring;
  made.fd = std::move(drive->fd);
  return MakeDriveDevice(std::move(made));
}

}  // namespace kvpool::device
