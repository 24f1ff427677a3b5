#include "device/nvme/command.h"

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/limits.h"

namespace kvpool::device {
namespace {

constexpr std::uint8_t kOpcodeFlush = 0x00;
constexpr std::uint8_t kOpcodeWrite = 0x01;
constexpr std::uint8_t kOpcodeRead = 0x02;

std::uint8_t OpcodeOf(Op op) {
  switch (op) {
    case Op::kRead:
      return kOpcodeRead;
    case Op::kWrite:
      return kOpcodeWrite;
    case Op::kFlush:
      return kOpcodeFlush;
    case Op::kLend:
      break;
  }
  KVPOOL_CHECK(false);
}

// Parts of equal size cost as many commands and none that is tiny.
std::uint32_t EvenPart(std::uint64_t rest, std::uint32_t max_bytes) {
  const std::uint64_t parts = (rest + max_bytes - 1) / max_bytes;
  const std::uint64_t even = (rest + parts - 1) / parts;
  return static_cast<std::uint32_t>((even + kIoAlignment - 1) / kIoAlignment * kIoAlignment);
}

}  // namespace

NvmePiece NextPiece(std::span<const iovec> segments, std::uint32_t begin, std::uint32_t end,
                    std::uint32_t max_bytes) {
  KVPOOL_CHECK(begin < end && max_bytes >= kIoAlignment);
  std::size_t first = 0;
  std::uint64_t inside = begin;
  while (inside >= segments[first].iov_len) inside -= segments[first++].iov_len;

  NvmePiece piece;
  const std::uint64_t limit = std::min(max_bytes, end - begin);
  if (inside == 0 && segments[first].iov_len <= limit) {
    std::size_t count = 0;
    while (first + count < segments.size() &&
           piece.bytes + segments[first + count].iov_len <= limit) {
      piece.bytes += static_cast<std::uint32_t>(segments[first + count++].iov_len);
    }
    piece.whole = segments.subspan(first, count);
    return piece;
  }
  const std::uint64_t rest = std::min<std::uint64_t>(segments[first].iov_len - inside, end - begin);
  piece.bytes = EvenPart(rest, max_bytes);
  piece.part = {static_cast<std::byte*>(segments[first].iov_base) + inside, piece.bytes};
  return piece;
}

nvme_uring_cmd MakeCommand(Op op, const NvmeLimits& limits, std::uint64_t offset,
                           std::uint32_t bytes) {
  nvme_uring_cmd command{};
  command.opcode = OpcodeOf(op);
  command.nsid = limits.namespace_id;
  if (op == Op::kFlush) return command;
  const std::uint64_t block = offset >> limits.block_shift;
  command.cdw10 = static_cast<std::uint32_t>(block);
  command.cdw11 = static_cast<std::uint32_t>(block >> 32);
  command.cdw12 = (bytes >> limits.block_shift) - 1;  // counts from zero
  return command;
}

NvmeAnswer Understand(std::int32_t result) {
  constexpr std::int32_t kDoNotRetry = 0x4000;
  constexpr std::int32_t kTypeAndCode = 0x7ff;
  constexpr std::int32_t kAborted = 0x007;
  constexpr std::int32_t kQueueDeleted = 0x008;
  constexpr std::int32_t kNotReady = 0x082;
  constexpr std::int32_t kPathRelated = 0x3;  // the type: the host aborted it, the path was lost
  if (result == 0) return NvmeAnswer::kDone;
  if (result < 0) {
    if (result == -EINVAL) return NvmeAnswer::kSmaller;
    return result == -EINTR || result == -EAGAIN || result == -ENOMEM ? NvmeAnswer::kAgain
                                                                      : NvmeAnswer::kFailed;
  }
  if ((result & kDoNotRetry) != 0) return NvmeAnswer::kFailed;
  const std::int32_t code = result & kTypeAndCode;
  const bool passing =
      code >> 8 == kPathRelated || code == kAborted || code == kQueueDeleted || code == kNotReady;
  return passing ? NvmeAnswer::kAgain : NvmeAnswer::kFailed;
}

}  // namespace kvpool::device
