#include "device/io_check.h"

#include <unistd.h>

#include <cerrno>

namespace kvpool::device {

bool IsValid(const Io& io, const Traits& traits) {
  if (io.op == Op::kFlush) return io.bytes == 0 && io.segments.empty();
  if (io.bytes == 0 || io.bytes > traits.max_io_bytes) return false;
  if (io.offset > traits.capacity_bytes || io.bytes > traits.capacity_bytes - io.offset)
    return false;
  if (io.op == Op::kLend) {
    return traits.mapped && io.segments.empty() && (io.offset | io.bytes) % traits.alignment == 0;
  }
  if (io.segments.empty() || io.segments.size() > traits.max_segments) return false;
  std::uint64_t sum = 0;
  std::uint64_t bits = io.offset | io.bytes;
  for (const iovec& segment : io.segments) {
    if (segment.iov_base == nullptr || segment.iov_len > io.bytes) return false;
    sum += segment.iov_len;
    bits |= reinterpret_cast<std::uintptr_t>(segment.iov_base) | segment.iov_len;
  }
  return sum == io.bytes && bits % traits.alignment == 0;
}

void Notify(int event_fd) {
  if (event_fd < 0) return;
  const std::uint64_t one = 1;
  while (::write(event_fd, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

}  // namespace kvpool::device
