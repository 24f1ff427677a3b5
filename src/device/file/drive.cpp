#include "device/file/drive.h"

#include <cerrno>

#include "base/check.h"

namespace kvpool::device {

iovec Rest(const Io& io) {
  std::uint64_t done = Progress(io);
  for (const iovec& segment : io.segments) {
    if (done < segment.iov_len) {
      return {static_cast<std::byte*>(segment.iov_base) + done, segment.iov_len - done};
    }
    done -= segment.iov_len;
  }
  KVPOOL_CHECK(false);
}

bool Advance(Io& io, std::int64_t answer, std::uint32_t alignment) {
  if (answer >= 0 && io.op == Op::kFlush) return false;
  if (answer >= 0) {
    const auto before = Progress(io);
    const auto now = before + static_cast<std::uint32_t>(answer);
    KVPOOL_CHECK(now <= io.bytes);
    if (now == io.bytes) return false;
    // The rest has to start aligned, so the odd end of a short transfer is done once more.
    const auto aligned = now / alignment * alignment;
    io.queue_progress = aligned | (io.queue_progress & kCancelBit);
    if (aligned == before) io.status = Status::kIoError;  // the end of the device, or no way on
  } else if (answer == -ECANCELED) {
    io.status = Status::kCancelled;
  } else if (answer != -EINTR && answer != -EAGAIN) {
    io.status = Status::kIoError;
  }
  if (io.status == Status::kOk && CancelAsked(io)) io.status = Status::kCancelled;
  return io.status == Status::kOk;
}

}  // namespace kvpool::device
