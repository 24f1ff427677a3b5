#include "device/file/ring.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace kvpool::device {

Ring::~Ring() {
  if (!open_) return;
  if (registered_file_) io_uring_unregister_files(&ring_);
  io_uring_queue_exit(&ring_);
}

int Ring::Open(unsigned entries, std::span<const unsigned> flags) {
  KVPOOL_CHECK(!open_);
  int result = -EINVAL;
  for (const unsigned tried : flags) {
    io_uring_params params{};
    params.flags = tried;
    result = io_uring_queue_init_params(entries, &ring_, &params);
    if (result != -EINVAL) break;
  }
  open_ = result == 0;
  return -result;
}

Result<void> Ring::Attach(int fd, const QueueOptions& options, const std::string& name) {
  fd_ = fd;
  registered_file_ = io_uring_register_files(&ring_, &fd_, 1) == 0;
  fixed_.emplace(ring_, options.registered);
  if (options.event_fd < 0) return {};
  const int result = io_uring_register_eventfd(&ring_, options.event_fd);
  if (result == 0) return {};
  return Fail(Status::kInvalid,
              fmt::format("a queue for {} cannot use descriptor {} as its eventfd: {}; pass an "
                          "open eventfd",
                          name, options.event_fd, std::strerror(-result)),
              -result);
}

io_uring_sqe& Ring::NextEntry() {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  KVPOOL_CHECK(entry != nullptr);
  return *entry;
}

void Ring::Enter() {
  while (Waits()) {
    const int result = io_uring_submit(&ring_);
    if (result == -EINTR) continue;
    KVPOOL_CHECK(result >= 0 || result == -EAGAIN || result == -EBUSY || result == -ENOMEM);
    if (result <= 0) return;
  }
}

}  // namespace kvpool::device
