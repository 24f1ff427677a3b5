#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "device/file/drive.h"
#include "device/file/ring.h"
#include "device/io_check.h"
#include "device/io_list.h"

namespace kvpool::device {
namespace {

// Ios that one queue has taken and not handed back. The ring has room for one cancel of each.
constexpr unsigned kEntries = 128;
constexpr std::uint64_t kCancelTag = 1;  // beside the Io's address, in what a cancel carries

// COOP_TASKRUN saves an interrupt for each completion: the owner finds it when it next enters the
// kernel, which it does to wait. SINGLE_ISSUER and DEFER_TASKRUN would tie the queue to one thread
// for ever, and a queue may change hands between uses. Kernels before 5.19 get no flags.
constexpr std::array kRingFlags = {
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL, 0u};

class RingQueue final : public Queue {
 public:
  RingQueue(const Drive& drive, const QueueOptions& options)
      : drive_(drive), traits_(*drive.traits), options_(options) {}
  ~RingQueue() override { KVPOOL_CHECK(held_ == 0); }

  Result<void> Open();

  std::size_t Submit(std::span<Io* const> ios) override;
  std::size_t Poll(std::span<Io*> done) override;
  void Cancel(Io& io) override;
  bool HoldsPages(const Io& io) const override {
    return !traits_.late_by_address && (io.queue_progress & kHoldsPagesBit) != 0;
  }
  // The kernel was short of something when asked last: try again.
  std::int64_t NextPollNs() const override { return ring_.Waits() ? 0 : kNever; }

 private:
  void Prepare(Io& io);
  // Both: the index of the fixed buffer used, or kNone.
  int PrepareOne(io_uring_sqe& entry, const Io& io) const;
  int PrepareMany(io_uring_sqe& entry, const Io& io) const;
  void CancelAnswered(const io_uring_cqe& answer);
  void Reap();

  const Drive& drive_;
  const Traits& traits_;
  const QueueOptions options_;
  Ring ring_;
  unsigned held_ = 0;
  IoList done_;
  std::vector<Io*> cancels_;  // asked for, and not handed back
};

Result<void> RingQueue::Open() {
  if (const int error = ring_.Open(2 * kEntries, kRingFlags); error != 0) {
    const auto status = error == EPERM || error == ENOSYS ? Status::kUnsupported : Status::kNoSpace;
    return Fail(status,
                fmt::format("io_uring refuses a queue for {}: {}; allow it, or raise the limits on "
                            "open files and memory",
                            traits_.name, std::strerror(error)),
                error);
  }
  return ring_.Attach(drive_.fd, options_, traits_.name);
}

int RingQueue::PrepareOne(io_uring_sqe& entry, const Io& io) const {
  const iovec part = Rest(io);
  const auto bytes = static_cast<unsigned>(part.iov_len);
  const std::uint64_t offset = drive_.first_byte + io.offset + Progress(io);
  const int buffer = ring_.fixed().IndexOf({&part, 1});
  const bool read = io.op == Op::kRead;
  if (buffer != FixedBuffers::kNone && read) {
    io_uring_prep_read_fixed(&entry, ring_.target(), part.iov_base, bytes, offset, buffer);
  } else if (buffer != FixedBuffers::kNone) {
    io_uring_prep_write_fixed(&entry, ring_.target(), part.iov_base, bytes, offset, buffer);
  } else if (read) {
    io_uring_prep_read(&entry, ring_.target(), part.iov_base, bytes, offset);
  } else {
    io_uring_prep_write(&entry, ring_.target(), part.iov_base, bytes, offset);
  }
  return buffer;
}

int RingQueue::PrepareMany(io_uring_sqe& entry, const Io& io) const {
  const auto count = static_cast<unsigned>(io.segments.size());
  const std::uint64_t offset = drive_.first_byte + io.offset;
  if (io.op == Op::kRead) {
    io_uring_prep_readv(&entry, ring_.target(), io.segments.data(), count, offset);
  } else {
    io_uring_prep_writev(&entry, ring_.target(), io.segments.data(), count, offset);
  }
  const int buffer = ring_.fixed().IndexOf(io.segments);
  if (buffer == FixedBuffers::kNone) return buffer;
  entry.opcode = io.op == Op::kRead ? kReadvFixed : kWritevFixed;
  entry.buf_index = static_cast<std::uint16_t>(buffer);
  return buffer;
}

void RingQueue::Prepare(Io& io) {
  io_uring_sqe& entry = ring_.NextEntry();
  int buffer = FixedBuffers::kNone;
  if (io.op == Op::kFlush) {
    io_uring_prep_fsync(&entry, ring_.target(), IORING_FSYNC_DATASYNC);
  } else if (Progress(io) > 0 || io.segments.size() == 1) {
    buffer = PrepareOne(entry, io);
  } else {
    buffer = PrepareMany(entry, io);
  }
  // A flush has no pages; a fixed buffer's are held from its registration on.
  const bool holds = io.op == Op::kFlush || buffer != FixedBuffers::kNone;
  io.queue_progress = (io.queue_progress & ~kHoldsPagesBit) | (holds ? kHoldsPagesBit : 0);
  io_uring_sqe_set_flags(&entry, ring_.target_flags());
  io_uring_sqe_set_data(&entry, &io);
}

std::size_t RingQueue::Submit(std::span<Io* const> ios) {
  ring_.fixed().Sync();
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
  ring_.Enter();
  if (invalid) Notify(options_.event_fd);
  return taken;
}

void RingQueue::Reap() {
  ring_.Reap([this](const io_uring_cqe& answer) {
    if ((answer.user_data & kCancelTag) != 0) return CancelAnswered(answer);
    auto* io = static_cast<Io*>(io_uring_cqe_get_data(&answer));
    if (Advance(*io, answer.res, traits_.alignment)) {
      Prepare(*io);
    } else {
      done_.Push(*io);
    }
  });
}

std::size_t RingQueue::Poll(std::span<Io*> done) {
  ring_.fixed().Sync();
  Reap();
  ring_.Enter();
  const std::size_t count = done_.PopInto(done);
  held_ -= static_cast<unsigned>(count);
  for (Io* io : done.first(cancels_.empty() ? 0 : count)) std::erase(cancels_, io);
  return count;
}

// That a cancel finds nothing to stop means that the transfer is with the drive: the kernel has
// looked up and taken hold of every page before. One that a thread of the kernel's is at
// (EALREADY) may have some to look up.
void RingQueue::CancelAnswered(const io_uring_cqe& answer) {
  const auto address = static_cast<std::uintptr_t>(answer.user_data & ~kCancelTag);
  const auto of = [address](const Io* io) {
    return reinterpret_cast<std::uintptr_t>(io) == address;
  };
  const auto found = std::find_if(cancels_.begin(), cancels_.end(), of);
  if (found != cancels_.end() && answer.res == -ENOENT) (*found)->queue_progress |= kHoldsPagesBit;
}

void RingQueue::Cancel(Io& io) {
  if (CancelAsked(io)) return;
  io.queue_progress |= kCancelBit;
  io_uring_sqe& entry = ring_.NextEntry();
  io_uring_prep_cancel(&entry, &io, 0);
  io_uring_sqe_set_data64(&entry, reinterpret_cast<std::uintptr_t>(&io) | kCancelTag);
  cancels_.push_back(&io);
  ring_.Enter();
}

}  // namespace

int RingRefusal() { return Ring().Open(2, kRingFlags); }

Result<std::unique_ptr<Queue>> OpenRingQueue(const Drive& drive, const QueueOptions& options) {
  auto queue = std::make_unique<RingQueue>(drive, options);
  if (auto opened = queue->Open(); !opened) return tl::unexpected(opened.error());
  return queue;
}

}  // namespace kvpool::device
