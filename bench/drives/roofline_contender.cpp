// What other people's programs read from all drives at once: the roofline.
#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "base/limits.h"
#include "bench/compare/fio.h"
#include "bench/compare/program.h"
#include "bench/drives/contenders.h"
#include "bench/drives/drive.h"
#include "bench/drives/user_space.h"

namespace kvpool::bench {
namespace {

constexpr double kSeconds = 2;  // of one measurement

// Read over and over; over as many bytes as each drive holds of the context.
struct Read {
  std::uint64_t bytes = 0;
  double bytes_per_s = 0;
  double cpu_s = 0;
};

class RooflineContender final : public Contender {
 public:
  RooflineContender(std::vector<device::MachineDrive> drives, const Setting& setting, Roofline by)
      : drives_(std::move(drives)), setting_(setting), by_(by) {}
  ~RooflineContender() override {
    for (const device::MachineDrive& drive : drives_) {
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
  std::string note() const override { return note_; }

 private:
  std::uint64_t BytesOfEach() const {
    return std::max<std::uint64_t>(setting_.context_bytes() / drives_.size() / kMiB, 64) * kMiB;
  }
  Result<Read> ReadByFio();
  Result<Read> ReadBySpdk();

  std::vector<device::MachineDrive> drives_;
  const Setting setting_;
  const Roofline by_;
  std::string note_;
};

Result<std::optional<Sample>> RooflineContender::Store(const Content& content) {
  for (const device::MachineDrive& drive : drives_) {
    if (auto filled = FillStart(drive, content.buffer(), BytesOfEach()); !filled) {
      return tl::unexpected(filled.error());
    }
  }
  return std::nullopt;
}

Result<Read> RooflineContender::ReadByFio() {
  const bool passthrough = by_ == Roofline::kFioNvme;
  FioRun run{.passthrough = passthrough, .bytes = BytesOfEach(), .seconds = kSeconds};
  for (const device::MachineDrive& drive : drives_) {
    run.targets.push_back((passthrough ? drive.character : drive.block).string());
  }
  auto figures = RunFio(run);
  if (!figures) return tl::unexpected(figures.error());
  note_ =
      fmt::format("fio: {}, depth {}, all drives at once for {:g} s, {} buffers",
                  passthrough ? "io_uring_cmd, 512 KiB" : "io_uring, O_DIRECT, 1 MiB", kFioDepth,
                  kSeconds, figures->hugepages ? "hugepage" : "transparent-hugepage");
  return Read{figures->bytes, figures->bytes_per_s, figures->cpu_s};
}

Result<Read> RooflineContender::ReadBySpdk() {
  auto taken = UserSpaceDrives::Take(drives_);
  if (!taken) return tl::unexpected(taken.error());
  std::vector<std::string> arguments{"spdk_nvme_perf",
                                     "-q",
                                     "32",
                                     "-o",
                                     "1048576",
                                     "-w",
                                     "read",
                                     "-t",
                                     fmt::format("{:.0f}", kSeconds),
                                     "-c",
                                     "0x1"};
  for (const device::MachineDrive& drive : drives_) {
    arguments.insert(arguments.end(),
                     {"-r", fmt::format("trtype:PCIe traddr:{}", drive.pci_address)});
  }
  auto ended = RunProgram(arguments);
  if (!ended) return tl::unexpected(ended.error());
  const auto bytes_per_s = ended->exit_code == 0 ? ParseSpdkPerf(ended->output) : std::nullopt;
  if (!bytes_per_s) {
    return Fail(Status::kIoError,
                fmt::format("spdk_nvme_perf failed with exit code {}: try it by hand, or leave "
                            "spdk-perf out.",
                            ended->exit_code));
  }
  note_ = fmt::format(
      "spdk_nvme_perf: 1 MiB, depth 32, all drives at once from one core for {:g} s", kSeconds);
  return Read{static_cast<std::uint64_t>(*bytes_per_s * kSeconds), *bytes_per_s, ended->cpu_s};
}

Result<Sample> RooflineContender::Retrieve(std::uint64_t blocks, std::span<std::byte>) {
  auto read = by_ == Roofline::kSpdkPerf ? ReadBySpdk() : ReadByFio();
  if (!read) return tl::unexpected(read.error());
  Sample sample{.bytes = blocks * setting_.block_bytes};
  sample.seconds = static_cast<double>(sample.bytes) / read->bytes_per_s;
  sample.cpu_s = read->cpu_s * static_cast<double>(sample.bytes) / static_cast<double>(read->bytes);
  return sample;
}

}  // namespace

// "Total                  :     812.50     812.50   38001.23 ...": I/Os and MiB a second come
// first.
std::optional<double> ParseSpdkPerf(std::string_view text) {
  const std::size_t total = text.find("\nTotal");
  const std::size_t colon = total == std::string_view::npos ? total : text.find(':', total);
  if (colon == std::string_view::npos) return std::nullopt;
  std::istringstream line{std::string(text.substr(colon + 1, text.find('\n', colon) - colon - 1))};
  double ios = 0;
  double mib = 0;
  if (!(line >> ios >> mib) || mib <= 0) return std::nullopt;
  return mib * static_cast<double>(kMiB);
}

Result<std::unique_ptr<Contender>> MakeRooflineContender(std::vector<device::MachineDrive> drives,
                                                         const Setting& setting, Roofline by) {
  if (by != Roofline::kSpdkPerf) {
    if (auto found = NeedFio(); !found) return tl::unexpected(found.error());
  }
  for (const device::MachineDrive& drive : drives) {
    if (by != Roofline::kFioNvme || !drive.character.empty()) continue;
    return Fail(Status::kUnsupported,
                fmt::format("{} has no passthrough device: it takes an NVMe drive and Linux 5.19; "
                            "leave fio-nvme out.",
                            drive.block.string()));
  }
  return std::make_unique<RooflineContender>(std::move(drives), setting, by);
}

}  // namespace kvpool::bench
