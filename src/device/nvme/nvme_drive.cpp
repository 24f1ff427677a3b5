#include "device/nvme/nvme_drive.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/units.h"
#include "device/file/drive_device.h"

namespace kvpool::device {
namespace {

constexpr std::uint8_t kIdentify = 0x06;
constexpr std::uint8_t kDatasetManagement = 0x09;
constexpr std::uint32_t kIdentifyNamespace = 0;
constexpr std::uint32_t kIdentifyController = 1;
constexpr std::uint32_t kDefaultSegments = 127;  // what Linux has always allowed
constexpr std::uint64_t kMaxCommandBytes = 4 * kMiB;

struct alignas(kIoAlignment) Page {
  std::array<std::byte, kIdentifyBytes> bytes{};
};

std::uint64_t AddressOf(const void* memory) { return reinterpret_cast<std::uintptr_t>(memory); }

tl::unexpected<Error> InUse(const std::string& path) {
  return Fail(Status::kBusy,
              fmt::format("{} is in use: it is mounted, part of an array, or held by another pool; "
                          "release it first, or choose another drive",
                          path),
              EBUSY);
}

}  // namespace

tl::unexpected<Error> NoPermission(const std::string& path, int error) {
  return Fail(Status::kInvalid,
              fmt::format("this user may not send commands to {} ({}): run as root, give this user "
                          "its device nodes (before Linux 6.2 that is not enough), or set the "
                          "device's kind to block",
                          path, std::strerror(error)),
              error);
}

NvmeDrive::~NvmeDrive() {
  if (fd_) ::flock(fd_.get(), LOCK_UN);  // a closed ring keeps the file, and with it the lock
}

Result<std::unique_ptr<NvmeDrive>> NvmeDrive::Open(const std::string& path, RawAccess access) {
  struct stat stat{};
  if (::stat(path.c_str(), &stat) != 0) return SystemFailure("open", path, errno);
  std::unique_ptr<NvmeDrive> drive(new NvmeDrive);
  drive->facts_.where = path;
  auto nodes = FindNvmeNodes({stat.st_mode, stat.st_rdev}, path);
  if (!nodes) return tl::unexpected(nodes.error());
  drive->nodes_ = *nodes;
  const bool character = S_ISCHR(stat.st_mode);
  drive->character_path_ = character ? path : "/dev/" + nodes->character;
  if (auto opened = drive->OpenCharacter(access); !opened) return tl::unexpected(opened.error());
  if (access == RawAccess::kHold) {
    const std::string block = nodes->block.empty() ? "" : "/dev/" + nodes->block;
    if (auto held = drive->Hold(character ? block : path); !held) {
      return tl::unexpected(held.error());
    }
  }
  if (auto known = drive->Identify(); !known) return tl::unexpected(known.error());
  return drive;
}

Result<void> NvmeDrive::OpenCharacter(RawAccess access) {
  fd_ = OpenPath(character_path_, access == RawAccess::kHold ? O_RDWR : O_RDONLY);
  if (fd_) return {};
  if (errno == EACCES || errno == EPERM) return NoPermission(character_path_, errno);
  return SystemFailure("open", character_path_, errno);
}

Result<void> NvmeDrive::Hold(const std::string& block_path) {
  int error = 0;
  if (!block_path.empty()) {
    Insist([&] {
      held_ = OpenPath(block_path, O_RDONLY | O_EXCL);
      error = held_ ? 0 : errno;
      return error != EBUSY;
    });
    if (error == EBUSY) return InUse(facts_.where);
    if (error != 0) return SystemFailure("hold", block_path, error);
    return {};
  }
  Insist([&] {
    error = ::flock(fd_.get(), LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    return error != EWOULDBLOCK && error != EINTR;
  });
  if (error == EWOULDBLOCK) return InUse(facts_.where);
  if (error != 0) return SystemFailure("lock", character_path_, error);
  return {};
}

Result<void> NvmeDrive::Execute(std::string_view what, nvme_passthru_cmd& command) {
  const bool admin = command.opcode == kIdentify;
  const int result = ::ioctl(fd_.get(), admin ? NVME_IOCTL_ADMIN_CMD : NVME_IOCTL_IO_CMD, &command);
  if (result == 0) return {};
  if (result > 0) {
    return Fail(Status::kIoError,
                fmt::format("{} answers status {:#x} when asked to {}: see the kernel's log, or "
                            "choose another drive",
                            facts_.where, result, what));
  }
  if (errno == EACCES || errno == EPERM) return NoPermission(character_path_, errno);
  if (errno == ENOTTY || errno == EOPNOTSUPP) {
    return Fail(Status::kInvalid,
                fmt::format("{} takes no NVMe commands ({}): name an NVMe drive, or set the "
                            "device's kind to block",
                            character_path_, std::strerror(errno)),
                errno);
  }
  return SystemFailure(what, facts_.where, errno);
}

Result<void> NvmeDrive::Identify() {
  const int id = ::ioctl(fd_.get(), NVME_IOCTL_ID);
  if (id <= 0)
    return SystemFailure("read the namespace of", facts_.where, id == 0 ? ENOTTY : errno);
  limits_.namespace_id = static_cast<std::uint32_t>(id);
  Page page;
  nvme_passthru_cmd command{};
  command.opcode = kIdentify;
  command.addr = AddressOf(page.bytes.data());
  command.data_len = kIdentifyBytes;
  command.cdw10 = kIdentifyController;
  if (auto done = Execute("identify its controller", command); !done) return done;
  controller_ = DecodeController(page.bytes);
  command.nsid = limits_.namespace_id;
  command.cdw10 = kIdentifyNamespace;
  if (auto done = Execute("identify its namespace", command); !done) return done;
  return SetLimits(DecodeNamespace(page.bytes));
}

Result<void> NvmeDrive::SetLimits(const NvmeNamespace& space) {
  facts_.serial = controller_.serial;
  if (space.metadata_bytes != 0) {
    return Fail(Status::kUnsupported,
                fmt::format("{} keeps {} bytes of metadata with each block, which kvpool does not "
                            "fill: format it without (nvme format --lbaf, which erases it), or "
                            "choose another drive",
                            facts_.where, space.metadata_bytes));
  }
  if (space.block_bytes == 0 || space.block_bytes > kIoAlignment) {
    return Fail(
        Status::kUnsupported,
        fmt::format("{} has blocks of {} bytes and kvpool transfers multiples of {}: format "
                    "it with blocks of 512 or 4096 bytes, or choose another drive",
                    facts_.where, space.block_bytes, kIoAlignment));
  }
  facts_.logical_block_bytes = static_cast<std::uint32_t>(space.block_bytes);
  facts_.bytes = space.blocks * space.block_bytes;
  limits_.block_shift = static_cast<unsigned>(std::countr_zero(space.block_bytes));
  std::uint64_t most = kMaxCommandBytes;
  for (const std::uint64_t limit : {controller_.max_transfer_bytes, nodes_.max_bytes}) {
    if (limit != 0) most = std::min(most, limit);
  }
  const std::uint64_t segments = nodes_.max_segments != 0 ? nodes_.max_segments : kDefaultSegments;
  const auto whole = [](std::uint64_t bytes) {
    return static_cast<std::uint32_t>(std::max<std::uint64_t>(bytes / kIoAlignment, 1) *
                                      kIoAlignment);
  };
  limits_.max_bytes = whole(most);
  limits_.always_bytes = whole(std::min(most, segments * kIoAlignment));
  return {};
}

// Reads `page` or writes it, `bytes` of it.
Result<void> NvmeDrive::MovePage(Op op, std::uint64_t offset, std::uint32_t bytes, void* page) {
  const nvme_uring_cmd made = MakeCommand(op, limits_, offset, bytes);
  nvme_passthru_cmd command{};
  command.opcode = made.opcode;
  command.nsid = made.nsid;
  command.addr = AddressOf(page);
  command.data_len = bytes;
  command.cdw10 = made.cdw10;
  command.cdw11 = made.cdw11;
  command.cdw12 = made.cdw12;
  return Execute(op == Op::kRead ? "read" : "write", command);
}

Result<void> NvmeDrive::Read(std::uint64_t offset, std::span<std::byte> into) {
  Page page;
  while (!into.empty()) {
    const std::size_t bytes = std::min(into.size(), page.bytes.size());
    if (auto done = MovePage(Op::kRead, offset, static_cast<std::uint32_t>(bytes), &page); !done) {
      return done;
    }
    std::memcpy(into.data(), page.bytes.data(), bytes);
    into = into.subspan(bytes);
    offset += bytes;
  }
  return {};
}

Result<void> NvmeDrive::Write(std::uint64_t offset, std::span<const std::byte> from) {
  Page page;
  while (!from.empty()) {
    const std::size_t bytes = std::min(from.size(), page.bytes.size());
    std::memcpy(page.bytes.data(), from.data(), bytes);
    if (auto done = MovePage(Op::kWrite, offset, static_cast<std::uint32_t>(bytes), &page); !done) {
      return done;
    }
    from = from.subspan(bytes);
    offset += bytes;
  }
  if (!controller_.volatile_cache) return {};
  nvme_passthru_cmd command{};
  command.opcode = MakeCommand(Op::kFlush, limits_, 0, 0).opcode;
  command.nsid = limits_.namespace_id;
  return Execute("flush", command);
}

void NvmeDrive::ForgetPartitions() {
  if (held_) ::ioctl(held_.get(), BLKRRPART);
}

Result<bool> NvmeDrive::Discard() {
  if (!controller_.deallocates) return false;
  constexpr std::uint64_t kMostBlocks = std::uint64_t{1} << 31;
  constexpr std::uint32_t kDeallocate = 4;
  constexpr std::uint32_t kTimeoutMs = 120'000;
  struct Range {
    std::uint32_t attributes = 0;
    std::uint32_t blocks = 0;
    std::uint64_t first = 0;
  };
  Page page;
  const std::uint64_t blocks = facts_.bytes >> limits_.block_shift;
  for (std::uint64_t at = 0; at < blocks; at += kMostBlocks) {
    const Range range{.blocks = static_cast<std::uint32_t>(std::min(kMostBlocks, blocks - at)),
                      .first = at};
    std::memcpy(page.bytes.data(), &range, sizeof range);
    nvme_passthru_cmd command{};
    command.opcode = kDatasetManagement;
    command.nsid = limits_.namespace_id;
    command.addr = AddressOf(page.bytes.data());
    command.data_len = sizeof range;
    command.cdw11 = kDeallocate;
    command.timeout_ms = kTimeoutMs;
    if (auto done = Execute("discard what it holds", command); !done) {
      return tl::unexpected(done.error());
    }
  }
  return true;
}

}  // namespace kvpool::device
