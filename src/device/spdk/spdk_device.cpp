#include "device/spdk/spdk_device.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "device/block/signatures.h"
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

std::uint64_t UsableBytes(const SpdkDrive& drive) {
  const std::uint64_t whole = drive.facts().bytes / kSlabBytes * kSlabBytes;
  return whole > kLabelAreaBytes ? whole - kLabelAreaBytes : 0;
}

Result<SpdkDrive::LabelPage> ReadLabelPage(SpdkDrive& drive) {
  SpdkDrive::LabelPage page;
  if (auto read = drive.Read(0, page); !read) return tl::unexpected(read.error());
  return page;
}

Result<Label> ReadLabelOf(SpdkDrive& drive, const std::string& where) {
  const auto page = ReadLabelPage(drive);
  if (!page) return tl::unexpected(page.error());
  return DecodeLabel(*page, where);
}

std::string SignaturesOn(SpdkDrive& drive) {
  return FindSignatures(drive.facts().bytes, [&](std::uint64_t offset, std::span<std::byte> into) {
    std::vector<std::byte> whole((into.size() + 4095) / 4096 * 4096);
    if (whole.size() > SpdkDrive::kMaxWaitingBytes || !drive.Read(offset, whole)) return false;
    std::copy_n(whole.begin(), into.size(), into.begin());
    return true;
  });
}

Result<void> AskTwice(SpdkDrive& drive, const std::string& where, const CreateOptions& options) {
  const std::string found = SignaturesOn(drive);
  if (found.empty()) return {};
  const std::string& serial = drive.facts().serial;
  const bool named = options.confirm == where || (!serial.empty() && options.confirm == serial);
  if (options.force && named) return {};
  return Fail(Status::kExists,
              fmt::format("{} carries {}, which would be lost: choose another drive, or both force "
                          "it and repeat its address{}",
                          where, found, serial.empty() ? "" : " or its serial " + serial));
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

Result<void> CreateSpdkDevice(const DeviceConfig& config, const CreateOptions& options) {
  auto drive = OpenDrive(config, true);
  if (!drive) return tl::unexpected(drive.error());
  const std::uint64_t usable = UsableBytes(**drive);
  if (usable == 0 || config.capacity_bytes > usable) {
    return Fail(
        Status::kNoSpace,
        fmt::format("{} has {} for a pool and {} are asked for: ask for no more, or for 0, "
                    "which means all of it",
                    config.address, FormatBytes(usable), FormatBytes(config.capacity_bytes)));
  }
  if (auto told = AskTwice(**drive, config.address, options); !told) return told;
  Label label = options.label;
  label.capacity_bytes = config.capacity_bytes > 0 ? config.capacity_bytes : usable;
  SpdkDrive::LabelPage page;
  EncodeLabel(label, page);
  return (*drive)->Write(0, page);
}

Result<Label> ReadSpdkLabel(const DeviceConfig& config) {
  auto drive = OpenDrive(config, false);
  if (!drive) return tl::unexpected(drive.error());
  return ReadLabelOf(**drive, config.address);
}

Result<void> RemoveSpdkDevice(const DeviceConfig& config, std::uint64_t pool_id) {
  auto drive = OpenDrive(config, true);
  if (!drive) return tl::unexpected(drive.error());
  auto label = ReadLabelOf(**drive, config.address);
  if (!label && label.error().status != Status::kCorrupt &&
      label.error().status != Status::kUnsupported) {
    return tl::unexpected(label.error());
  }
  if (label) {
    const LabelExpectation expected{.pool_id = pool_id, .drive_bytes = ~std::uint64_t{0}};
    if (auto same = CheckLabel(*label, expected, config.address); !same) return same;
  }
  return (*drive)->Write(0, SpdkDrive::LabelPage{});
}

bool HasSpdk() { return true; }

Result<std::unique_ptr<Device>> OpenSpdkDevice(const DeviceConfig& config,
                                               const OpenOptions& options) {
  auto drive = OpenDrive(config, true);
  if (!drive) return tl::unexpected(drive.error());
  const auto page = ReadLabelPage(**drive);
  if (!page) return tl::unexpected(page.error());
  const auto label = DecodeLabel(*page, config.address);
  if (!label) return tl::unexpected(label.error());
  const LabelExpectation expected{options.pool_id, options.device_id, config.capacity_bytes,
                                  (*drive)->facts().bytes};
  if (auto same = CheckLabel(*label, expected, config.address); !same) {
    return tl::unexpected(same.error());
  }
  (*drive)->Watch(*page);
  Traits traits;
  traits.name = config.name;
  traits.kind = "spdk";
  traits.description = Describe(**drive, **SpdkEnvironment::Get());
  for (const std::string& remark : options.remarks) traits.description += "; " + remark;
  traits.capacity_bytes = label->capacity_bytes;
  traits.numa_node = (*drive)->facts().numa_node;
  traits.needs_polling = true;
  return std::make_unique<SpdkDevice>(std::move(*drive), std::move(traits));
}

}  // namespace kvpool::device
