#include "device/nvme/nvme_queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "device/file/ring.h"
#include "device/io_check.h"
#include "device/nvme/flights.h"

namespace kvpool::device {
namespace {

constexpr std::size_t kCommandRoom = 80;

int OpenRing(Ring& ring, unsigned entries, bool polled) {
  const unsigned flags = IORING_SETUP_SQE128 | IORING_SETUP_CQE32 | IORING_SETUP_SUBMIT_ALL |
                         IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                         (polled ? IORING_SETUP_IOPOLL : 0u);
  return ring.Open(entries, {&flags, 1});
}

// The ring's entries have 128 bytes; the command lies behind the usual fields.
void PutCommand(io_uring_sqe& entry, const nvme_uring_cmd& command) {
  std::byte* room = reinterpret_cast<std::byte*>(&entry) + offsetof(io_uring_sqe, cmd);
  std::memset(room, 0, kCommandRoom);
  std::memcpy(room, &command, sizeof command);
}

class NvmeQueue final : public Queue {
 public:
  NvmeQueue(const NvmeTarget& target, const QueueOptions& options)
      : target_(target), traits_(*target.traits), options_(options), flights_(target.limits) {}
  ~NvmeQueue() override { KVPOOL_CHECK(flights_.held() == 0); }

  Result<void> Open();

  std::size_t Submit(std::span<Io* const> ios) override;
  std::size_t Poll(std::span<Io*> done) override;
  void Cancel(Io& io) override;
  bool HoldsPages(const Io& io) const override { return flights_.InFixedBuffers(io); }
  std::int64_t NextPollNs() const override;

 private:
  void Issue();
  void PrepareTransfer(NvmeCommand& command, io_uring_sqe& entry);
  void Reap();
  void ReapFrom(Ring& ring);

  const NvmeTarget& target_;
  const Traits& traits_;
  const QueueOptions options_;
  const Clock& clock_ = Clock::Monotonic();
  Ring ring_;
  // Flushes, where transfers are polled for: a command without bytes cannot be, and is answered by
  // interrupt. On a polled ring, Linux before 6.5 may take the callback of that for a cookie.
  std::optional<Ring> flushes_;
  NvmeFlights flights_;
  unsigned in_flight_ = 0;  // commands that were issued and not answered
};

Result<void> NvmeQueue::Open() {
  const int error = OpenRing(ring_, NvmeFlights::kCommands, target_.polled);
  if (error != 0) {
    const bool unknown = error == EPERM || error == ENOSYS || error == EINVAL;
    return Fail(unknown ? Status::kUnsupported : Status::kNoSpace,
                fmt::format("io_uring refuses a queue of NVMe commands for {}: {}; use Linux 5.19 "
                            "or later, allow io_uring, and raise the limits on open files and "
                            "memory",
                            traits_.name, std::strerror(error)),
                error);
  }
  if (!target_.polled) return ring_.Attach(target_.fd, options_, traits_.name);
  if (OpenRing(flushes_.emplace(), NvmeFlights::kCommands, false) != 0) {
    return Fail(Status::kNoSpace,
                fmt::format("io_uring refuses a second queue for {}: raise the limits on open "
                            "files and memory",
                            traits_.name));
  }
  // Whoever has commands under way polls.
  if (auto attached = flushes_->Attach(target_.fd, {}, traits_.name); !attached) return attached;
  return ring_.Attach(target_.fd, {.registered = options_.registered}, traits_.name);
}

std::int64_t NvmeQueue::NextPollNs() const {
  const bool now = ring_.Waits() || (flushes_ && (flushes_->Waits() || in_flight_ > 0));
  return now ? 0 : flights_.NextNs();
}

std::size_t NvmeQueue::Submit(std::span<Io* const> ios) {
  ring_.fixed().Sync();
  std::size_t taken = 0;
  bool done_at_once = false;
  for (; taken < ios.size() && flights_.held() < NvmeFlights::kIos; ++taken) {
    Io& io = *ios[taken];
    io.status = IsValid(io, traits_) ? Status::kOk : Status::kInvalid;
    if (io.status != Status::kOk || (io.op == Op::kFlush && !target_.volatile_cache)) {
      flights_.AddDone(io);
      done_at_once = true;
    } else {
      flights_.Add(io);
    }
  }
  Issue();
  if (done_at_once) Notify(options_.event_fd);
  return taken;
}

// Whatever the kernel does not take now stays in the ring, and NextPollNs says to come back.
void NvmeQueue::Issue() {
  std::uint16_t place = 0;
  const std::int64_t now_ns = flights_.NextNs() == kNever ? 0 : clock_.NowNs();
  while (flights_.Next(now_ns, place)) {
    NvmeCommand& command = flights_.at(place);
    const bool flush = command.io->op == Op::kFlush;
    Ring& ring = flush && flushes_ ? *flushes_ : ring_;
    io_uring_sqe& entry = ring.NextEntry();
    io_uring_prep_rw(IORING_OP_URING_CMD, &entry, ring.target(), nullptr, 0, 0);
    io_uring_sqe_set_flags(&entry, ring.target_flags());
    entry.user_data = place;
    entry.cmd_op = NVME_URING_CMD_IO;
    if (flush) {
      PutCommand(entry, MakeCommand(Op::kFlush, target_.limits, 0, 0));
    } else {
      PrepareTransfer(command, entry);
    }
    ++in_flight_;
  }
  ring_.Enter();
  if (flushes_) flushes_->Enter();
}

void NvmeQueue::PrepareTransfer(NvmeCommand& command, io_uring_sqe& entry) {
  const Io& io = *command.io;
  const NvmePiece piece = command.Piece();
  const std::uint64_t offset = target_.first_byte + io.offset + command.begin;
  nvme_uring_cmd made = MakeCommand(io.op, target_.limits, offset, piece.bytes);
  if (piece.whole.size() > 1) {
    entry.cmd_op = NVME_URING_CMD_IO_VEC;
    made.addr = reinterpret_cast<std::uintptr_t>(piece.whole.data());
    made.data_len = static_cast<std::uint32_t>(piece.whole.size());
  } else {
    const iovec& memory = piece.whole.empty() ? piece.part : piece.whole.front();
    made.addr = reinterpret_cast<std::uintptr_t>(memory.iov_base);
    made.data_len = piece.bytes;
    const int buffer =
        flights_.fixed_works() ? ring_.fixed().IndexOf({&memory, 1}) : FixedBuffers::kNone;
    if (buffer != FixedBuffers::kNone) {
      command.fixed = true;
      entry.uring_cmd_flags = IORING_URING_CMD_FIXED;
      entry.buf_index = static_cast<std::uint16_t>(buffer);
    }
  }
  PutCommand(entry, made);
}

void NvmeQueue::Reap() {
  if (flushes_ && in_flight_ > 0) {
    ring_.LookForCompletions();
    ReapFrom(*flushes_);
  }
  ReapFrom(ring_);
}

void NvmeQueue::ReapFrom(Ring& ring) {
  ring.Reap([this](const io_uring_cqe& answer) {
    --in_flight_;
    const std::int64_t now_ns = answer.res == 0 ? 0 : clock_.NowNs();
    flights_.Answered(static_cast<std::uint16_t>(answer.user_data), answer.res, now_ns);
  });
}

std::size_t NvmeQueue::Poll(std::span<Io*> done) {
  ring_.fixed().Sync();
  Reap();
  Issue();
  return flights_.TakeDone(done);
}

void NvmeQueue::Cancel(Io& io) {
  if (flights_.Cancel(io)) Notify(options_.event_fd);
}

}  // namespace

int TryNvmeQueue(const NvmeTarget& target) {
  alignas(kIoAlignment) std::array<std::byte, kIoAlignment> page;
  Ring ring;
  if (const int error = OpenRing(ring, 1, target.polled); error != 0) return error;
  nvme_uring_cmd made = MakeCommand(Op::kRead, target.limits, target.first_byte, page.size());
  made.addr = reinterpret_cast<std::uintptr_t>(page.data());
  made.data_len = page.size();
  io_uring_sqe& entry = ring.NextEntry();
  io_uring_prep_rw(IORING_OP_URING_CMD, &entry, target.fd, nullptr, 0, 0);
  entry.cmd_op = NVME_URING_CMD_IO;
  PutCommand(entry, made);
  io_uring_cqe* answer = nullptr;
  int result;
  do {
    result = io_uring_submit_and_wait(&ring.handle(), 1);
  } while (result == -EINTR);
  if (result >= 0) result = io_uring_wait_cqe(&ring.handle(), &answer);
  if (result == 0) result = answer->res;
  return result > 0 ? EIO : -result;
}

Result<std::unique_ptr<Queue>> OpenNvmeQueue(const NvmeTarget& target,
                                             const QueueOptions& options) {
  auto queue = std::make_unique<NvmeQueue>(target, options);
  if (auto opened = queue->Open(); !opened) return tl::unexpected(opened.error());
  return queue;
}

}  // namespace kvpool::device
