// Drives that leave the kernel's driver for a while.
#include "bench/drives/contenders.h"

namespace kvpool::bench {
namespace {

constexpr const char* kKernelDriver = "nvme";
constexpr const char* kUserSpaceDriver = "vfio-pci";

class InUserSpace final : public Contender {
 public:
  InUserSpace(UserSpaceDrives drives, std::unique_ptr<Contender> inner)
      : drives_(std::move(drives)), inner_(std::move(inner)) {}

  Result<std::optional<Sample>> Store(const Content& content) override {
    return inner_->Store(content);
  }
  void DropCaches() override { inner_->DropCaches(); }
  Result<Sample> Retrieve(std::uint64_t blocks, std::span<std::byte> into) override {
    return inner_->Retrieve(blocks, into);
  }
  Result<std::optional<double>> LayerRatio(std::uint64_t blocks,
                                           std::span<std::byte> into) override {
    return inner_->LayerRatio(blocks, into);
  }
  std::vector<std::uint64_t> BytesRead() const override { return inner_->BytesRead(); }
  std::string note() const override { return inner_->note(); }

 private:
  UserSpaceDrives drives_;  // given back after what uses them
  std::unique_ptr<Contender> inner_;
};

}  // namespace

Result<UserSpaceDrives> UserSpaceDrives::Take(const std::vector<DriveNode>& drives) {
  UserSpaceDrives taken;
  for (const DriveNode& drive : drives) {
    if (drive.pci.empty()) {
      return Fail(
          Status::kUnsupported,
          drive.block.string() + " is no NVMe drive on the PCI bus: leave the spdk methods out.");
    }
    taken.pci_.push_back(drive.pci);
    if (auto bound = BindDriver(drive.pci, kUserSpaceDriver); !bound) {
      return tl::unexpected(bound.error());
    }
  }
  return taken;
}

UserSpaceDrives::~UserSpaceDrives() {
  for (const std::string& pci : pci_) {
    if (BindDriver(pci, kKernelDriver)) [[maybe_unused]]
      const auto back = AwaitDrive(pci);
  }
}

std::unique_ptr<Contender> WithUserSpaceDrives(UserSpaceDrives drives,
                                               std::unique_ptr<Contender> inner) {
  return std::make_unique<InUserSpace>(std::move(drives), std::move(inner));
}

}  // namespace kvpool::bench
