#include "device/spdk/drive.h"

#include <fmt/format.h>
#include <spdk/env.h>
#include <spdk/nvme.h>

#include <cstring>

#include "base/check.h"
#include "base/clock.h"
#include "device/spdk/pci.h"

namespace kvpool::device {
namespace {

constexpr std::int64_t kTransferNs = 10'000'000'000;

std::string Trimmed(const void* text, std::size_t bytes) {
  std::string_view view(static_cast<const char*>(text), bytes);
  view = view.substr(0, view.find('\0'));
  return std::string(view.substr(0, view.find_last_not_of(' ') + 1));
}

// Whose thread waits: the keeper's own transfers take place while nobody else has a pair.
enum class Waits : std::uint8_t { kCaller, kKeeper };

// A queue pair of its own, for commands that are waited for.
class Waiter {
 public:
  Waiter(SpdkController& controller, Waits who) : controller_(controller), who_(who) {
    if (who_ == Waits::kCaller) {
      registered_ = controller_.AddPair(pair_).has_value();
    } else {
      pair_.handle = controller_.NewHandle();
    }
  }
  ~Waiter() { Close(); }
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  // `submit(pair, callback, argument)` is one of SPDK's commands. False: it failed, or took too
  // long.
  template <class Submit>
  bool Run(const Submit& submit) {
    answer_ = Answer::kNone;
    const std::int64_t end = Clock::Monotonic().NowNs() + kTransferNs;
    bool going =
        Inside([&](spdk_nvme_qpair* pair) { return submit(pair, &Waiter::Done, this) == 0; });
    while (going && answer_ == Answer::kNone) {
      going = Inside(
          [](spdk_nvme_qpair* pair) { return spdk_nvme_qpair_process_completions(pair, 0) >= 0; });
      going = going && Clock::Monotonic().NowNs() < end;
    }
    if (answer_ == Answer::kNone) Close();  // so that nobody writes to `this`, or the buffer, later
    return answer_ == Answer::kGood;
  }

 private:
  enum class Answer : std::uint8_t { kNone, kGood, kBad };
  static void Done(void* waiter, const spdk_nvme_cpl* completion) {
    static_cast<Waiter*>(waiter)->answer_ =
        spdk_nvme_cpl_is_error(completion) ? Answer::kBad : Answer::kGood;
  }

  template <class Action>
  bool Inside(const Action& action) {
    pair_.gate.Enter();
    const bool good = pair_.handle != nullptr && action(pair_.handle);
    pair_.gate.Leave();
    return good;
  }

  void Close() {
    if (std::exchange(registered_, false)) {
      controller_.RemovePair(pair_);
    } else if (who_ == Waits::kKeeper) {
      spdk_nvme_ctrlr_free_io_qpair(std::exchange(pair_.handle, nullptr));
    }
  }

  SpdkController& controller_;
  const Waits who_;
  bool registered_ = false;
  SpdkPair pair_;
  std::atomic<Answer> answer_{Answer::kNone};  // a reset ends commands on the keeper's thread
};

class DmaBuffer {
 public:
  explicit DmaBuffer(std::size_t bytes)
      : data_(spdk_zmalloc(bytes, kIoAlignment, nullptr, -1, SPDK_MALLOC_DMA)) {}
  ~DmaBuffer() { spdk_free(data_); }
  DmaBuffer(const DmaBuffer&) = delete;
  DmaBuffer& operator=(const DmaBuffer&) = delete;
  void* data() const { return data_; }

 private:
  void* data_;
};

bool ReadNow(SpdkController& controller, spdk_nvme_ns* ns, std::uint64_t offset,
             std::span<std::byte> into, Waits who) {
  const std::uint32_t block = spdk_nvme_ns_get_sector_size(ns);
  const DmaBuffer buffer(into.size());
  if (buffer.data() == nullptr || block == 0) return false;
  Waiter waiter(controller, who);
  const bool good = waiter.Run([&](auto* pair, auto done, void* argument) {
    return spdk_nvme_ns_cmd_read(ns, pair, buffer.data(), offset / block,
                                 static_cast<std::uint32_t>(into.size() / block), done, argument,
                                 0);
  });
  if (good) std::memcpy(into.data(), buffer.data(), into.size());
  return good;
}

tl::unexpected<Error> TransferFailed(std::string_view what, const SpdkAddress& address) {
  return Fail(Status::kIoError,
              fmt::format("cannot {} {}: the drive answers with an error, or not at all; see its "
                          "health, or its target's log",
                          what, address.ControllerId()));
}

// The namespace that was asked for, or the only one.
Result<std::uint32_t> ChooseNamespace(const SpdkController& controller, std::uint32_t wanted) {
  spdk_nvme_ctrlr* handle = controller.handle();
  std::string there;
  std::uint32_t count = 0;
  const std::uint32_t first = spdk_nvme_ctrlr_get_first_active_ns(handle);
  for (std::uint32_t id = first; id != 0; id = spdk_nvme_ctrlr_get_next_active_ns(handle, id)) {
    if (id == wanted) return id;
    if (count++ < 8) there += fmt::format("{}{}", there.empty() ? "" : ", ", id);
  }
  if (wanted == 0 && count == 1) return first;
  const std::string where = controller.address().ControllerId();
  if (count == 0) {
    return Fail(Status::kNotFound,
                fmt::format("{} has no namespace: create one, or correct the address", where));
  }
  return Fail(
      wanted == 0 ? Status::kInvalid : Status::kNotFound,
      fmt::format("{} has the namespaces {}{}: add one to the address, such as ns:{}", where, there,
                  wanted == 0 ? "" : fmt::format(" and not {}", wanted), first));
}

Result<void> CheckFormat(const SpdkController& controller, spdk_nvme_ns* ns) {
  const std::string where = fmt::format("namespace {} of {}", spdk_nvme_ns_get_id(ns),
                                        controller.address().ControllerId());
  if (const std::uint32_t bytes = spdk_nvme_ns_get_md_size(ns); bytes != 0) {
    return Fail(Status::kUnsupported,
                fmt::format("{} keeps {} bytes of metadata with each block, and kvpool reads plain "
                            "blocks: format it without (nvme format --ms=0 erases it), or choose "
                            "another drive",
                            where, bytes));
  }
  const std::uint32_t block = spdk_nvme_ns_get_sector_size(ns);
  if (block != 0 && kIoAlignment % block == 0) return {};
  return Fail(Status::kUnsupported,
              fmt::format("{} has blocks of {} bytes and kvpool transfers multiples of {}: choose "
                          "another drive",
                          where, block, kIoAlignment));
}

}  // namespace

Result<std::unique_ptr<SpdkDrive>> SpdkDrive::Open(const SpdkAddress& address, bool exclusive) {
  auto controller = SpdkController::Attach(address);
  if (!controller) return tl::unexpected(controller.error());
  const auto id = ChooseNamespace(**controller, address.namespace_id);
  if (!id) return tl::unexpected(id.error());
  std::optional<HostLock> lock;
  if (exclusive) {
    auto taken = HostLock::Take(fmt::format("{} ns:{}", address.ControllerId(), *id));
    if (!taken) return tl::unexpected(taken.error());
    lock = std::move(*taken);
  }
  spdk_nvme_ns* ns = spdk_nvme_ctrlr_get_ns((*controller)->handle(), *id);
  if (auto good = CheckFormat(**controller, ns); !good) return tl::unexpected(good.error());
  std::unique_ptr<SpdkDrive> drive(new SpdkDrive(std::move(*controller), ns));
  drive->lock_ = std::move(lock);
  return drive;
}

SpdkDrive::SpdkDrive(std::shared_ptr<SpdkController> controller, spdk_nvme_ns* ns)
    : controller_(std::move(controller)), handle_(ns) {
  const spdk_nvme_ctrlr_data* data = spdk_nvme_ctrlr_get_data(controller_->handle());
  facts_.namespace_id = spdk_nvme_ns_get_id(ns);
  facts_.bytes = spdk_nvme_ns_get_size(ns);
  facts_.block_bytes = spdk_nvme_ns_get_sector_size(ns);
  facts_.max_transfer_bytes = spdk_nvme_ns_get_max_io_xfer_size(ns);
  facts_.volatile_cache = data->vwc.present != 0;
  facts_.model = Trimmed(data->mn, sizeof data->mn);
  facts_.serial = Trimmed(data->sn, sizeof data->sn);
  if (address().transport == SpdkTransport::kPcie) {
    facts_.numa_node = NumaNodeOfPci(address().traddr);
  }
  controller_->AddTenant(*this);
}

SpdkDrive::~SpdkDrive() { controller_->RemoveTenant(*this); }

Result<void> SpdkDrive::Read(std::uint64_t offset, std::span<std::byte> into) {
  KVPOOL_CHECK(into.size() <= kMaxWaitingBytes && (offset | into.size()) % facts_.block_bytes == 0);
  if (ReadNow(*controller_, handle_, offset, into, Waits::kCaller)) return {};
  return TransferFailed("read", address());
}

Result<void> SpdkDrive::Write(std::uint64_t offset, std::span<const std::byte> from) {
  const std::uint32_t block = facts_.block_bytes;
  KVPOOL_CHECK(from.size() <= kMaxWaitingBytes && (offset | from.size()) % block == 0);
  const DmaBuffer buffer(from.size());
  if (buffer.data() == nullptr) return TransferFailed("write to", address());
  std::memcpy(buffer.data(), from.data(), from.size());
  Waiter waiter(*controller_, Waits::kCaller);
  const bool written = waiter.Run([&](auto* pair, auto done, void* argument) {
    return spdk_nvme_ns_cmd_write(handle_, pair, buffer.data(), offset / block,
                                  static_cast<std::uint32_t>(from.size() / block), done, argument,
                                  0);
  });
  const bool durable =
      written && (!facts_.volatile_cache || waiter.Run([&](auto* pair, auto done, void* argument) {
        return spdk_nvme_ns_cmd_flush(handle_, pair, done, argument);
      }));
  if (durable) return {};
  return TransferFailed("write to", address());
}

bool SpdkDrive::AfterReset(spdk_nvme_ns* ns) {
  if (lost()) return true;
  bool same = ns != nullptr && spdk_nvme_ns_get_size(ns) == facts_.bytes &&
              spdk_nvme_ns_get_sector_size(ns) == facts_.block_bytes;
  if (same && watched_) {
    LabelPage page;
    if (!ReadNow(*controller_, ns, 0, page, Waits::kKeeper)) return false;
    same = page == *watched_;
  }
  if (same) {
    handle_ = ns;
  } else {
    changed_.store(true, std::memory_order_release);
  }
  return true;
}

}  // namespace kvpool::device
