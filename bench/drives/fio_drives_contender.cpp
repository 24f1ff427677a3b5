#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "bench/compare/fio.h"
#include "bench/drives/contenders.h"

namespace kvpool::bench {
namespace {

constexpr double kSeconds = 2;  // of one measurement

class FioDrivesContender final : public Contender {
 public:
  FioDrivesContender(std::vector<DriveNode> drives, const Setting& setting, bool passthrough)
      : drives_(std::move(drives)), setting_(setting), passthrough_(passthrough) {}
  ~FioDrivesContender() override {
    for (const DriveNode& drive : drives_) {
      [[maybe_unused]] const auto wiped = WipeEnds(drive);
    }
  }

  Result<std::optional<Sample>> Store(const Content& content) override;
  void DropCaches() override {}
  Result<Sample> Retrieve(std::uint64_t blocks, std::span<std::byte> into) override;
  bool delivers() const override { return false; }
  std::vector<std::uint64_t> BytesRead() const override {
    return std::vector<std::uint64_t>(setting_.devices.size());
  }
  std::string note() const override {
    return fmt::format("fio: {}, O_DIRECT, depth {}, all drives at once for {:g} s, {} buffers",
                       passthrough_ ? "io_uring_cmd, 512 KiB" : "io_uring, 1 MiB", kFioDepth,
                       kSeconds, hugepages_ ? "hugepage" : "transparent-hugepage");
  }

 private:
  std::uint64_t BytesOfEach() const {
    return std::max<std::uint64_t>(setting_.context_bytes() / drives_.size() / kMiB, 64) * kMiB;
  }

  const std::vector<DriveNode> drives_;
  const Setting setting_;
  const bool passthrough_;
  bool hugepages_ = false;
};

Result<std::optional<Sample>> FioDrivesContender::Store(const Content& content) {
  for (const DriveNode& drive : drives_) {
    if (auto filled = FillStart(drive, content.buffer(), BytesOfEach()); !filled) {
      return tl::unexpected(filled.error());
    }
  }
  return std::nullopt;
}

Result<Sample> FioDrivesContender::Retrieve(std::uint64_t blocks, std::span<std::byte>) {
  FioRun run{.passthrough = passthrough_, .bytes = BytesOfEach(), .seconds = kSeconds};
  for (const DriveNode& drive : drives_) {
    run.targets.push_back((passthrough_ ? drive.generic : drive.block).string());
  }
  auto figures = RunFio(run);
  if (!figures) return tl::unexpected(figures.error());
  hugepages_ = figures->hugepages;
  Sample sample{.bytes = blocks * setting_.block_bytes};
  sample.seconds = static_cast<double>(sample.bytes) / figures->bytes_per_s;
  sample.cpu_s =
      figures->cpu_s * static_cast<double>(sample.bytes) / static_cast<double>(figures->bytes);
  return sample;
}

}  // namespace

Result<std::unique_ptr<Contender>> MakeFioDrivesContender(std::vector<DriveNode> drives,
                                                          const Setting& setting,
                                                          bool passthrough) {
  if (auto found = NeedFio(); !found) return tl::unexpected(found.error());
  for (const DriveNode& drive : drives) {
    if (!passthrough || !drive.generic.empty()) continue;
    return Fail(Status::kUnsupported,
                fmt::format("{} has no passthrough device: it takes an NVMe drive and Linux 5.19; "
                            "leave fio-nvme out.",
                            drive.block.string()));
  }
  return std::make_unique<FioDrivesContender>(std::move(drives), setting, passthrough);
}

}  // namespace kvpool::bench
