#include "device/spdk/spdk_device.h"

#include <fmt/format.h>

#include "device/spdk/drive.h"
#include "device/spdk/environment.h"
#include "device/spdk/queue.h"

namespace kvpool::device {
namespace {

Result<std::unique_ptr<SpdkDrive>> OpenDrive(const DeviceConfig& config, bool exclusive) {
  const auto address = ParseSpdkAddress(config.address);
  if (!address) return tl::unexpected(address.error());
  return SpdkDrive::Open(*address, exclusive);
}

// An SpdkDrive as labelling and formatting see it.
class SpdkRawDrive final : public RawDrive {
 public:
  SpdkRawDrive(std::unique_ptr<SpdkDrive> drive, const std::string& address)
      : drive_(std::move(drive)) {
    const SpdkDriveFacts& facts = drive_->facts();
    facts_ = {.where = address,
              .serial = facts.serial,
              .bytes = facts.bytes,
              .logical_block_bytes = facts.block_bytes};
    static_assert(kMaxBytes <= SpdkDrive::kMaxWaitingBytes);
  }

  Result<void> Read(std::uint64_t offset, std::span<std::byte> into) override {
    return drive_->Read(offset, into);
  }
  Result<void> Write(std::uint64_t offset, std::span<const std::byte> from) override {
    return drive_->Write(offset, from);
  }
  Result<bool> Discard() override { return false; }

  std::unique_ptr<SpdkDrive> Take() { return std::move(drive_); }

 private:
  std::unique_ptr<SpdkDrive> drive_;
};

Result<std::unique_ptr<SpdkRawDrive>> OpenRaw(const DeviceConfig& config, RawAccess access) {
  auto drive = OpenDrive(config, access == RawAccess::kHold);
  if (!drive) return tl::unexpected(drive.error());
  return std::make_unique<SpdkRawDrive>(std::move(*drive), config.address);
}

std::string Describe(const SpdkDrive& drive, const SpdkEnvironment& environment) {
  const SpdkDriveFacts& facts = drive.facts();
  const SpdkAddress& address = drive.address();
  std::string path;
  switch (address.transport) {
    case SpdkTransport::kPcie:
      path = fmt::format("PCIe {} through {}", address.traddr,
                         environment.iommu() ? "vfio" : "uio, without an IOMMU");
      break;
    case SpdkTransport::kTcp:
    case SpdkTransport::kRdma:
      path = fmt::format("{} to {} port {}, {}",
                         address.transport == SpdkTransport::kTcp ? "NVMe/TCP" : "RDMA",
                         address.traddr, address.trsvcid, address.subnqn);
      break;
  }
  std::string text = fmt::format(
      "SPDK, {}, namespace {} of {}, serial {}, blocks of {} bytes, {}, polled", path,
      facts.namespace_id, facts.model, facts.serial, facts.block_bytes, environment.description());
  if (address.transport != SpdkTransport::kTcp) {
    text += "; memory that is not registered goes through buffers";
  }
  return text;
}

class SpdkDevice final : public Device {
 public:
  SpdkDevice(std::unique_ptr<SpdkDrive> drive, Traits traits)
      : drive_(std::move(drive)), traits_(std::move(traits)) {}

  const Traits& traits() const override { return traits_; }
  Result<std::unique_ptr<Queue>> OpenQueue(const QueueOptions& options) override {
    return OpenSpdkQueue(*drive_, traits_, options);
  }

 private:
  const std::unique_ptr<SpdkDrive> drive_;
  const Traits traits_;
};

}  // namespace

bool HasSpdk() { return true; }

Result<std::unique_ptr<RawDrive>> OpenSpdkRawDrive(const DeviceConfig& config, RawAccess access) {
  auto drive = OpenRaw(config, access);
  if (!drive) return tl::unexpected(drive.error());
  return std::unique_ptr<RawDrive>(std::move(*drive));
}

Result<std::unique_ptr<Device>> OpenSpdkDevice(const DeviceConfig& config,
                                               const OpenOptions& options) {
  auto raw = OpenRaw(config, AccessFor(options.raw_use));
  if (!raw) return tl::unexpected(raw.error());
  const auto capacity_bytes = CapacityOf(**raw, config, options);
  if (!capacity_bytes) return tl::unexpected(capacity_bytes.error());
  std::unique_ptr<SpdkDrive> drive = (*raw)->Take();
  SpdkDrive::LabelPage page;
  if (auto read = drive->Read(0, page); !read) return tl::unexpected(read.error());
  drive->Watch(page);
  Traits traits;
  traits.name = config.name;
  traits.kind = "spdk";
  traits.description = Describe(*drive, **SpdkEnvironment::Get());
  for (const std::string& remark : options.remarks) traits.description += "; " + remark;
  traits.capacity_bytes = *capacity_bytes;
  traits.numa_node = drive->facts().numa_node;
  traits.needs_polling = true;
  return std::make_unique<SpdkDevice>(std::move(drive), std::move(traits));
}

}  // namespace kvpool::device
