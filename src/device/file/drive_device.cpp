#include "device/file/drive_device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "device/file/drive.h"

namespace kvpool::device {
namespace {

struct alignas(kLabelBytes) LabelPage {
  std::array<std::byte, kLabelBytes> bytes{};
};

class DriveDevice final : public Device {
 public:
  explicit DriveDevice(DriveDeviceOptions options)
      : fd_(std::move(options.fd)), traits_(std::move(options.traits)) {
    drive_ = {fd_.get(), kLabelAreaBytes, &traits_};
    const int refusal = options.avoid_io_uring ? 0 : RingRefusal();
    threads_ = options.avoid_io_uring || refusal != 0;
    if (threads_) traits_.late_by_address = true;
    // Where nothing is copied inside Submit, half as many I/Os cost a third less of a processor.
    if (!traits_.late_by_address) traits_.max_io_bytes = 2 << 20;
    std::string path = "io_uring";
    if (threads_) path = "4 threads with preadv and pwritev a queue";
    if (refusal != 0) path += fmt::format(" (io_uring is refused: {})", std::strerror(refusal));
    traits_.description = path + ", " + traits_.description;
  }

  // A closed ring keeps its reference to the file for a while, and with it the lock.
  ~DriveDevice() override {
    if (fd_) ::flock(fd_.get(), LOCK_UN);
  }

  const Traits& traits() const override { return traits_; }
  Result<std::unique_ptr<Queue>> OpenQueue(const QueueOptions& options) override {
    return threads_ ? OpenThreadQueue(drive_, options) : OpenRingQueue(drive_, options);
  }

 private:
  Descriptor fd_;
  Traits traits_;
  Drive drive_;
  bool threads_ = false;
};

Result<void> WritePage(int fd, const LabelPage& page, const std::string& path) {
  const ssize_t written = ::pwrite(fd, page.bytes.data(), kLabelBytes, 0);
  if (written != static_cast<ssize_t>(kLabelBytes) || ::fsync(fd) != 0) {
    return SystemFailure("write the label of", path, written >= 0 && errno == 0 ? EIO : errno);
  }
  return {};
}

}  // namespace

Descriptor OpenPath(const std::string& path, int flags) {
  int fd;
  do {
    fd = ::open(path.c_str(), flags | O_NONBLOCK | O_CLOEXEC, 0600);
  } while (fd < 0 && errno == EINTR);
  // io_uring would answer EAGAIN instead of waiting for the drive.
  if (fd >= 0) ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  return Descriptor(fd);
}

bool Insist(const std::function<bool()>& attempt) {
  constexpr auto kPause = std::chrono::milliseconds(10);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  while (!attempt()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(kPause);
  }
  return true;
}

tl::unexpected<Error> SystemFailure(std::string_view what, const std::string& path, int error) {
  Status status = Status::kIoError;
  std::string_view advice = "see the kernel's log for the cause";
  switch (error) {
    case ENOENT:
      status = Status::kNotFound;
      advice =
          "correct the path, or create the pool; where other parts of the pool are left, first "
          "remove its files and its catalog, and what was stored goes with them";
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      status = Status::kInvalid;
      advice = "give this user the right to write there, or choose another path";
      break;
    case EISDIR:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case ENXIO:
      status = Status::kInvalid;
      advice = "correct the path";
      break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      status = Status::kNoSpace;
      advice = "free space, or ask for a smaller capacity";
      break;
    case EMFILE:
    case ENFILE:
      status = Status::kNoSpace;
      advice = "raise the limit on open files (ulimit -n)";
      break;
    default:
      break;
  }
  return Fail(status, fmt::format("cannot {} {}: {}; {}", what, path, std::strerror(error), advice),
              error);
}

Result<Label> ReadLabelFrom(int fd, const std::string& path) {
  LabelPage page;
  const ssize_t got = ::pread(fd, page.bytes.data(), kLabelBytes, 0);
  if (got < 0) return SystemFailure("read the label of", path, errno);
  return DecodeLabel(page.bytes, path);  // of less than a page: zeros follow, no checksum fits
}

Result<void> WriteLabelTo(int fd, const Label& label, const std::string& path) {
  LabelPage page;
  EncodeLabel(label, page.bytes);
  return WritePage(fd, page, path);
}

std::unique_ptr<Device> MakeDriveDevice(DriveDeviceOptions options) {
  return std::make_unique<DriveDevice>(std::move(options));
}

}  // namespace kvpool::device
