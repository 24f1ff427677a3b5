#include "device/spdk/queue.h"

#include <spdk/nvme.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "device/io_check.h"
#include "device/io_list.h"
#include "device/spdk/dma_memory.h"
#include "device/spdk/slot.h"

namespace kvpool::device {
namespace {

constexpr unsigned kSlots = 128;  // Ios that one queue has taken and not handed back
// A controller that does not end a command it was asked to abort is reset.
constexpr std::int64_t kCancelPatienceNs = 5'000'000'000;

// The command was not carried out, and carrying it out again is right: a reset or a lost connection
// ended it, or the drive asks for it.
bool AsksForAnotherTry(const spdk_nvme_status& status) {
  if (status.sct == SPDK_NVME_SCT_PATH) return true;
  if (status.sct != SPDK_NVME_SCT_GENERIC) return false;
  // SPDK's own doing, with "do not retry" set or not.
  if (status.sc == SPDK_NVME_SC_ABORTED_SQ_DELETION) return true;
  return status.dnr == 0 && (status.sc == SPDK_NVME_SC_ABORTED_BY_REQUEST ||
                             status.sc == SPDK_NVME_SC_NAMESPACE_NOT_READY);
}

MemoryRule RuleOf(const SpdkDrive& drive) {
  return drive.address().transport == SpdkTransport::kTcp ? MemoryRule::kAny
                                                          : MemoryRule::kRegistered;
}

class SpdkQueue final : public Queue {
 public:
  SpdkQueue(SpdkDrive& drive, const Traits& traits, const QueueOptions& options)
      : drive_(drive), traits_(traits), memory_(RuleOf(drive), options.registered) {
    free_.reserve(kSlots);
    for (SpdkSlot& slot : slots_) {
      slot.queue = this;
      free_.push_back(static_cast<std::uint32_t>(&slot - slots_.data()));
    }
  }
  ~SpdkQueue() override {
    KVPOOL_CHECK(free_.size() == kSlots);
    if (open_) drive_.controller().RemovePair(pair_);
  }

  Result<void> Open() {
    auto added = drive_.controller().AddPair(pair_);
    open_ = added.has_value();
    return added;
  }

  std::size_t Submit(std::span<Io* const> ios) override;
  std::size_t Poll(std::span<Io*> done) override;
  void Cancel(Io& io) override;
  std::int64_t NextPollNs() const override { return free_.size() < kSlots ? 0 : kNever; }

 private:
  SpdkSlot& SlotOf(const Io& io) { return slots_[io.queue_progress]; }
  void StartAll(IoList& list);
  void Start(Io& io);
  int Issue(SpdkSlot& slot);
  bool GiveMemory(SpdkSlot& slot);
  void TakeMemory(SpdkSlot& slot, bool arrived);
  void Finish(Io& io, Status status);
  void Ended(SpdkSlot& slot, const spdk_nvme_status& status);
  void EndCancelled();
  static void Done(void* slot, const spdk_nvme_cpl* completion);

  SpdkDrive& drive_;
  const Traits& traits_;
  bool open_ = false;
  std::array<SpdkSlot, kSlots> slots_;
  std::vector<std::uint32_t> free_;
  IoList arrived_;                    // taken, and not looked at yet: the owner's alone
  unsigned cancels_ = 0;              // cancelled Ios that are not handed back
  std::int64_t cancelled_since_ = 0;  // the clock when the oldest of them was cancelled

  SpdkMemory memory_;

  SpdkPair pair_;
  // Whoever is inside the pair:
  IoList waiting_;  // for a handle, for requests of SPDK, or for another try
  IoList done_;
  unsigned flying_ = 0;
};

std::size_t SpdkQueue::Submit(std::span<Io* const> ios) {
  memory_.Sync();
  std::size_t taken = 0;
  for (; taken < ios.size() && !free_.empty(); ++taken) {
    Io& io = *ios[taken];
    io.queue_progress = free_.back();
    free_.pop_back();
    SlotOf(io).Begin(io);
    io.status = IsValid(io, traits_) ? Status::kOk : Status::kInvalid;
    arrived_.Push(io);
  }
  if (taken > 0 && pair_.gate.TryEnter()) {
    StartAll(arrived_);
    pair_.gate.Leave();
  }
  return taken;
}

std::size_t SpdkQueue::Poll(std::span<Io*> done) {
  memory_.Sync();
  if (!pair_.gate.TryEnter()) return 0;
  if (flying_ > 0 && spdk_nvme_qpair_process_completions(pair_.handle, 0) < 0) {
    drive_.controller().Suspect();
  }
  StartAll(waiting_);
  StartAll(arrived_);
  if (cancels_ > 0) EndCancelled();
  const std::size_t count = done_.PopInto(done);
  pair_.gate.Leave();
  for (Io* io : done.first(count)) {
    if (SlotOf(*io).cancelled()) --cancels_;
    free_.push_back(io->queue_progress);
  }
  return count;
}

// Those in the list now; what has to wait again is put back for the next time.
void SpdkQueue::StartAll(IoList& list) {
  IoList now = std::exchange(list, {});
  while (Io* io = now.Pop()) Start(*io);
}

void SpdkQueue::Start(Io& io) {
  SpdkSlot& slot = SlotOf(io);
  if (io.status != Status::kOk) return Finish(io, io.status);
  if (slot.cancelled()) return Finish(io, Status::kCancelled);
  if (drive_.lost()) return Finish(io, Status::kIoError);
  if (pair_.handle == nullptr) return waiting_.Push(io);
  if (io.op == Op::kFlush && !drive_.facts().volatile_cache) return Finish(io, Status::kOk);
  switch (Issue(slot)) {
    case 0:
      ++flying_;
      return;
    case -ENOMEM:
    case -EAGAIN:
      if (flying_ == 0 && !slot.TryAgain()) return Finish(io, Status::kIoError);
      return waiting_.Push(io);
    case -ENXIO:
      drive_.controller().Suspect();
      return waiting_.Push(io);
    default:
      return Finish(io, Status::kIoError);
  }
}

int SpdkQueue::Issue(SpdkSlot& slot) {
  const Io& io = slot.io();
  if (!GiveMemory(slot)) return -ENOMEM;
  spdk_nvme_ns* ns = drive_.handle();
  if (io.op == Op::kFlush) return spdk_nvme_ns_cmd_flush(ns, pair_.handle, &Done, &slot);
  const std::uint32_t block = drive_.facts().block_bytes;
  const std::uint64_t first = (kLabelAreaBytes + io.offset) / block;
  const auto command = io.op == Op::kRead ? &spdk_nvme_ns_cmd_readv : &spdk_nvme_ns_cmd_writev;
  const int result = command(ns, pair_.handle, first, io.bytes / block, &Done, &slot, 0,
                             &SpdkSlot::Rewind, &SpdkSlot::Next);
  if (result != 0) TakeMemory(slot, false);
  return result;
}

// A buffer in place of memory that the drive cannot reach. False: there is none free now.
bool SpdkQueue::GiveMemory(SpdkSlot& slot) {
  const Io& io = slot.io();
  if (memory_.Reaches(io.segments)) return true;
  std::byte* to = memory_.TakeBuffer();
  slot.set_bounce(to);
  if (to == nullptr || io.op == Op::kRead) return to != nullptr;
  for (const iovec& segment : io.segments) {
    std::memcpy(to, segment.iov_base, segment.iov_len);
    to += segment.iov_len;
  }
  return true;
}

void SpdkQueue::TakeMemory(SpdkSlot& slot, bool arrived) {
  std::byte* const buffer = slot.bounce();
  if (buffer == nullptr) return;
  const std::byte* from = buffer;
  if (arrived && slot.io().op == Op::kRead) {
    for (const iovec& segment : slot.io().segments) {
      std::memcpy(segment.iov_base, from, segment.iov_len);
      from += segment.iov_len;
    }
  }
  slot.set_bounce(nullptr);
  memory_.PutBuffer(buffer);
}

void SpdkQueue::Done(void* argument, const spdk_nvme_cpl* completion) {
  auto& slot = *static_cast<SpdkSlot*>(argument);
  static_cast<SpdkQueue*>(slot.queue)->Ended(slot, completion->status);
}

void SpdkQueue::Ended(SpdkSlot& slot, const spdk_nvme_status& status) {
  --flying_;
  Io& io = slot.io();
  const bool good = status.sct == SPDK_NVME_SCT_GENERIC && status.sc == SPDK_NVME_SC_SUCCESS;
  TakeMemory(slot, good);
  if (good) {
    Finish(io, Status::kOk);
  } else if (slot.cancelled()) {
    Finish(io, Status::kCancelled);
  } else if (AsksForAnotherTry(status) && slot.TryAgain()) {
    waiting_.Push(io);
  } else {
    Finish(io, Status::kIoError);
  }
}

void SpdkQueue::Finish(Io& io, Status status) {
  io.status = status;
  done_.Push(io);
}

void SpdkQueue::Cancel(Io& io) {
  SpdkSlot& slot = SlotOf(io);
  if (!slot.Cancel()) return;
  if (cancels_++ == 0) cancelled_since_ = Clock::Monotonic().NowNs();
  if (!pair_.gate.TryEnter()) return;  // a reset: it ends as cancelled afterwards
  if (arrived_.Remove(io) || waiting_.Remove(io)) {
    Finish(io, Status::kCancelled);
  } else if (pair_.handle != nullptr) {
    drive_.controller().Abort(pair_, &slot);
  }
  pair_.gate.Leave();
}

// Nothing but a reset ends a command that the controller does not want to abort.
void SpdkQueue::EndCancelled() {
  const std::int64_t now = Clock::Monotonic().NowNs();
  if (now - cancelled_since_ < kCancelPatienceNs) return;
  cancelled_since_ = now;
  drive_.controller().Suspect();
}

}  // namespace

Result<std::unique_ptr<Queue>> OpenSpdkQueue(SpdkDrive& drive, const Traits& traits,
                                             const QueueOptions& options) {
  auto queue = std::make_unique<SpdkQueue>(drive, traits, options);
  if (auto opened = queue->Open(); !opened) return tl::unexpected(opened.error());
  return queue;
}

}  // namespace kvpool::device
