// NVMe commands as the kernel's passthrough takes them, and what becomes of one I/O that is more
// than one command may carry. Pure.
#pragma once

#include <linux/nvme_ioctl.h>
#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "device/device.h"

namespace kvpool::device {

// What commands to one namespace have to respect.
struct NvmeLimits {
  std::uint32_t namespace_id = 1;
  unsigned block_shift = 9;              // of a logical block: 9 or 12
  std::uint32_t max_bytes = 1 << 20;     // of one command; a multiple of kIoAlignment
  std::uint32_t always_bytes = 1 << 18;  // of one command, however its memory is scattered
};

// `segments`, done one after the other, from byte `begin` on: what one command takes. Either a run
// of whole segments or a part of one, so that no list of segments has to be made for it.
struct NvmePiece {
  std::span<const iovec> whole;  // empty: a part of one segment
  iovec part{};
  std::uint32_t bytes = 0;
};

// `begin` below `end`, both at multiples of kIoAlignment; at most `max_bytes`.
NvmePiece NextPiece(std::span<const iovec> segments, std::uint32_t begin, std::uint32_t end,
                    std::uint32_t max_bytes);

// A read or write of `bytes` at `offset` of the namespace, or a flush; its memory is left out.
nvme_uring_cmd MakeCommand(Op op, const NvmeLimits& limits, std::uint64_t offset,
                           std::uint32_t bytes);

// What an answer means for what comes next.
enum class NvmeAnswer : std::uint8_t {
  kDone,
  kSmaller,  // the kernel cannot map that much memory, or not so: ask for less
  kAgain,    // lost on the way, by a reset for instance: ask again
  kFailed,
};

// `result` as io_uring gives it: 0, the status of an NVMe completion, or a negative errno.
NvmeAnswer Understand(std::int32_t result);

}  // namespace kvpool::device
