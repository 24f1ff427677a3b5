// SpdkDrive: an open NVMe namespace: what it is, and transfers that wait, for labels.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "device/label.h"
#include "device/spdk/controller.h"
#include "device/spdk/host_lock.h"

namespace kvpool::device {

struct SpdkDriveFacts {
  std::uint32_t namespace_id = 0;
  std::uint64_t bytes = 0;
  std::uint32_t block_bytes = 0;
  std::uint32_t max_transfer_bytes = 0;  // of one command; larger I/Os are split
  bool volatile_cache = false;           // a flush has something to do
  int numa_node = -1;
  std::string model;
  std::string serial;
};

// Threads: any for what is const; the rest: one.
class SpdkDrive final : public SpdkTenant {
 public:
  // `exclusive`: no other process of this machine, and no other part of this one, has it or gets
  // it. As SpdkController::Attach, and kUnsupported (metadata, block size), kNotFound (namespace).
  static Result<std::unique_ptr<SpdkDrive>> Open(const SpdkAddress& address, bool exclusive);
  ~SpdkDrive() override;

  const SpdkDriveFacts& facts() const { return facts_; }
  const SpdkAddress& address() const { return controller_->address(); }
  SpdkController& controller() const { return *controller_; }

  // Bytes at an offset from the namespace's start, whole blocks, at most kMaxWaitingBytes. Waits;
  // writes are durable when it returns. kIoError.
  static constexpr std::size_t kMaxWaitingBytes = 256 * kKiB;
  Result<void> Read(std::uint64_t offset, std::span<std::byte> into);
  Result<void> Write(std::uint64_t offset, std::span<const std::byte> from);

  // From here on, a reset that does not bring back these bytes at offset 0 loses the drive: it may
  // be another one.
  using LabelPage = std::array<std::byte, kLabelBytes>;
  void Watch(const LabelPage& page) { watched_ = page; }

  // For queues, inside a pair's gate.
  spdk_nvme_ns* handle() const { return handle_; }
  bool lost() const { return changed_.load(std::memory_order_acquire) || controller_->lost(); }

  std::uint32_t namespace_id() const override { return facts_.namespace_id; }
  bool AfterReset(spdk_nvme_ns* ns) override;

 private:
  SpdkDrive(std::shared_ptr<SpdkController> controller, spdk_nvme_ns* ns);

  const std::shared_ptr<SpdkController> controller_;
  std::optional<HostLock> lock_;
  spdk_nvme_ns* handle_;
  SpdkDriveFacts facts_;
  std::optional<LabelPage> watched_;
  std::atomic<bool> changed_{false};
};

}  // namespace kvpool::device
