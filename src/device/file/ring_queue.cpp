#include <liburing.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include <fmt/format.h>

#include "base/check.h"
#include "device/file/drive.h"
#include "device/file/fixed_buffers.h"
#include "device/io_check.h"
#include "device/io_list.h"

namespace kvpool::device {
namespace {

// Ios that one queue has taken and not handed back. The ring has room for one cancel of each.
constexpr unsigned kEntries = 128;

// COOP_TASKRUN saves an interrupt for each completion: the owner finds it when it next enters the
// kernel, which it does to wait. SINGLE_ISSUER and DEFER_TASKRUN would tie the queue to one thread
// for ever, and a queue may change hands between uses. Kernels before 5.19 get no flags.
int InitRing(io_uring& ring, unsigned entries) {
  for (const unsigned flags :
       {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL, 0u}) {
    io_uring_params params{};
    params.flags = flags;
    const int result = io_uring_queue_init_params(entries, &ring, &params);
    if (result != -EINVAL) return -result;
  }
  return EINVAL;
}

class RingQueue final : public Queue {
 public:
  RingQueue(const Drive& drive, const QueueOptions& options)
      : drive_(drive),
        traits_(*drive.traits),
        event_fd_(options.event_fd),
        registered_(options.registered) {}
  ~RingQueue() override {
    KVPOOL_CHECK(held_ == 0);
    if (!open_) return;
    // The kernel takes a ring apart in the background; the file has to be free when this returns.
    if (registered_file_) io_uring_unregister_files(&ring_);
    io_uring_queue_exit(&ring_);
  }

  Result<void> Open();

  std::size_t Submit(std::span<Io* const> ios) override;
  std::size_t Poll(std::span<Io*> done) override;
  void Cancel(Io& io) override;
  // The kernel was short of something when asked last: try again.
  std::int64_t NextPollNs() const override { return io_uring_sq_ready(&ring_) > 0 ? 0 : kNever; }

 private:
  io_uring_sqe& NextEntry();
  void Prepare(Io& io);
  void PrepareOne(io_uring_sqe& entry, const Io& io, int fd) const;
  void PrepareMany(io_uring_sqe& entry, const Io& io, int fd) const;
  void Enter();
  void Reap();

  const Drive& drive_;
  const Traits& traits_;
  const int event_fd_;
  const mem::RegisteredMemory* const registered_;
  io_uring ring_{};
  bool open_ = false;
  bool registered_file_ = false;
  std::optional<FixedBuffers> fixed_;
  unsigned held_ = 0;
  IoList done_;
};

Result<void> RingQueue::Open() {
  if (const int error = InitRing(ring_, 2 * kEntries); error != 0) {
    const auto status = error == EPERM || error == ENOSYS ? Status::kUnsupported : Status::kNoSpace;
    return Fail(status,
                fmt::format("io_uring refuses a queue for {}: {}; allow it, or raise the limits on "
                            "open files and memory",
                            traits_.name, std::strerror(error)),
                error);
  }
  open_ = true;
  registered_file_ = io_uring_register_files(&ring_, &drive_.fd, 1) == 0;
  fixed_.emplace(ring_, registered_);
  if (event_fd_ < 0) return {};
  if (const int result = io_uring_register_eventfd(&ring_, event_fd_); result != 0) {
    return Fail(
        Status::kInvalid,
        fmt::format("a queue for {} cannot use descriptor {} as its eventfd: {}; pass an open "
                    "eventfd",
                    traits_.name, event_fd_, std::strerror(-result)),
        -result);
  }
  return {};
}

io_uring_sqe& RingQueue::NextEntry() {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  KVPOOL_CHECK(entry != nullptr);
  return *entry;
}

void RingQueue::PrepareOne(io_uring_sqe& entry, const Io& io, int fd) const {
  const iovec part = Rest(io);
  const auto bytes = static_cast<unsigned>(part.iov_len);
  const std::uint64_t offset = drive_.first_byte + io.offset + Progress(io);
  const int buffer = fixed_->IndexOf({&part, 1});
  const bool read = io.op == Op::kRead;
  if (buffer != FixedBuffers::kNone && read) {
    io_uring_prep_read_fixed(&entry, fd, part.iov_base, bytes, offset, buffer);
  } else if (buffer != FixedBuffers::kNone) {
    io_uring_prep_write_fixed(&entry, fd, part.iov_base, bytes, offset, buffer);
  } else if (read) {
    io_uring_prep_read(&entry, fd, part.iov_base, bytes, offset);
  } else {
    io_uring_prep_write(&entry, fd, part.iov_base, bytes, offset);
  }
}

void RingQueue::PrepareMany(io_uring_sqe& entry, const Io& io, int fd) const {
  const auto count = static_cast<unsigned>(io.segments.size());
  const std::uint64_t offset = drive_.first_byte + io.offset;
  if (io.op == Op::kRead) {
    io_uring_prep_readv(&entry, fd, io.segments.data(), count, offset);
  } else {
    io_uring_prep_writev(&entry, fd, io.segments.data(), count, offset);
  }
  const int buffer = fixed_->IndexOf(io.segments);
  if (buffer == FixedBuffers::kNone) return;
  entry.opcode = io.op == Op::kRead ? kReadvFixed : kWritevFixed;
  entry.buf_index = static_cast<std::uint16_t>(buffer);
}

void RingQueue::Prepare(Io& io) {
  io_uring_sqe& entry = NextEntry();
  const int fd = registered_file_ ? 0 : drive_.fd;
  if (io.op == Op::kFlush) {
    io_uring_prep_fsync(&entry, fd, IORING_FSYNC_DATASYNC);
  } else if (Progress(io) > 0 || io.segments.size() == 1) {
    PrepareOne(entry, io, fd);
  } else {
    PrepareMany(entry, io, fd);
  }
  io_uring_sqe_set_flags(&entry, registered_file_ ? IOSQE_FIXED_FILE : 0u);
  io_uring_sqe_set_data(&entry, &io);
}

// Whatever the kernel does not take now stays in the ring, and NextPollNs says to come back.
void RingQueue::Enter() {
  while (io_uring_sq_ready(&ring_) > 0) {
    const int result = io_uring_submit(&ring_);
    if (result == -EINTR) continue;
    KVPOOL_CHECK(result >= 0 || result == -EAGAIN || result == -EBUSY || result == -ENOMEM);
    if (result <= 0) return;
  }
}

std::size_t RingQueue::Submit(std::span<Io* const> ios) {
  fixed_->Sync();
  std::size_t taken = 0;
  bool invalid = false;
  for (; taken < ios.size() && held_ < kEntries; ++taken, ++held_) {
    Io& io = *ios[taken];
    io.queue_progress = 0;
    io.status = IsValid(io, traits_) ? Status::kOk : Status::kInvalid;
    if (io.status == Status::kOk) {
      Prepare(io);
    } else {
      done_.Push(io);
      invalid = true;
    }
  }
  Enter();
  if (invalid) Notify(event_fd_);
  return taken;
}

void RingQueue::Reap() {
  std::array<io_uring_cqe*, 32> answers;
  unsigned count;
  do {
    count = io_uring_peek_batch_cqe(&ring_, answers.data(), answers.size());
    for (const io_uring_cqe* answer : std::span(answers).first(count)) {
      auto* io = static_cast<Io*>(io_uring_cqe_get_data(answer));
      if (io == nullptr) continue;  // of a cancel
      if (Advance(*io, answer->res, traits_.alignment)) {
        Prepare(*io);
      } else {
        done_.Push(*io);
      }
    }
    io_uring_cq_advance(&ring_, count);
  } while (count == answers.size());
}

std::size_t RingQueue::Poll(std::span<Io*> done) {
  fixed_->Sync();
  Reap();
  Enter();
  const std::size_t count = done_.PopInto(done);
  held_ -= static_cast<unsigned>(count);
  return count;
}

void RingQueue::Cancel(Io& io) {
  if (CancelAsked(io)) return;
  io.queue_progress |= kCancelBit;
  io_uring_sqe& entry = NextEntry();
  io_uring_prep_cancel(&entry, &io, 0);
  io_uring_sqe_set_data(&entry, nullptr);
  Enter();
}

}  // namespace

int RingRefusal() {
  io_uring ring;
  const int error = InitRing(ring, 2);
  if (error == 0) io_uring_queue_exit(&ring);
  return error;
}

Result<std::unique_ptr<Queue>> OpenRingQueue(const Drive& drive, const QueueOptions& options) {
  auto queue = std::make_unique<RingQueue>(drive, options);
  if (auto opened = queue->Open(); !opened) return tl::unexpected(opened.error());
  return queue;
}

}  // namespace kvpool::device
