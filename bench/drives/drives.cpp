#include "bench/drives/drives.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/limits.h"
#include "base/units.h"
#include "bench/compare/arithmetic.h"
#include "bench/compare/fio.h"
#include "bench/compare/plan.h"
#include "bench/drives/contenders.h"
#include "bench/drives/drive.h"
#include "bench/drives/holding.h"
#include "bench/drives/user_space.h"
#include "device/open.h"
#include "mem/region.h"

namespace kvpool::bench {
namespace {

constexpr std::array<std::string_view, 12> kMethods = {
    "serial",    "ext4-buffered", "ext4-direct", "block",      "nvme",      "spdk",
    "fio-block", "fio-nvme",      "spdk-perf",   "pool-block", "pool-nvme", "pool-spdk"};
constexpr std::uint64_t kFilled = 256 * kMiB;  // of each drive, before it is measured
constexpr double kMeasuredSeconds = 2;

// What makes the contenders: the drives, in the order of Setting::devices behind the memory.
class DriveMethodsOf {
 public:
  DriveMethodsOf(std::vector<device::MachineDrive> drives, std::size_t first)
      : drives_(std::move(drives)), first_(first) {}

  Result<std::unique_ptr<Contender>> Make(std::string_view method, const Setting& setting,
                                          std::span<std::byte> buffer);

 private:
  void FindAgain();
  std::size_t Fastest(const Setting& setting) const;
  void Address(DeviceConfig& device, DeviceKind kind, const device::MachineDrive& drive) const;
  Result<std::unique_ptr<Contender>> MakeOnFiles(std::string_view method, const Setting& setting,
                                                 std::size_t drive) const;
  Result<std::unique_ptr<Contender>> MakeRaw(DeviceKind kind, const Setting& setting,
                                             std::size_t drive, std::span<std::byte> buffer) const;
  Result<std::unique_ptr<Contender>> MakePool(DeviceKind kind, const Setting& setting,
                                              std::span<std::byte> buffer) const;

  std::vector<device::MachineDrive> drives_;
  const std::size_t first_;  // position of the first drive in Setting::devices
};

// A drive that was in user space may have another name now.
void DriveMethodsOf::FindAgain() {
  const auto now = device::FindDrives();
  for (device::MachineDrive& drive : drives_) {
    const auto same = std::find_if(now.begin(), now.end(), [&](const device::MachineDrive& one) {
      return !drive.pci_address.empty() && one.pci_address == drive.pci_address;
    });
    if (same != now.end()) drive = *same;
  }
}

std::size_t DriveMethodsOf::Fastest(const Setting& setting) const {
  std::size_t fastest = 0;
  for (std::size_t i = 1; i < drives_.size(); ++i) {
    if (setting.devices[first_ + i].read_bytes_per_s >
        setting.devices[first_ + fastest].read_bytes_per_s) {
      fastest = i;
    }
  }
  return fastest;
}

void DriveMethodsOf::Address(DeviceConfig& device, DeviceKind kind,
                             const device::MachineDrive& drive) const {
  device.kind = kind;
  device.path.clear();
  if (kind == DeviceKind::kSpdk) {
    device.address = fmt::format("trtype:PCIe traddr:{}", drive.pci_address);
  } else {
    device.path = kind == DeviceKind::kNvme ? drive.character : drive.block;
  }
}

Result<std::unique_ptr<Contender>> DriveMethodsOf::MakeOnFiles(std::string_view method,
                                                               const Setting& setting,
                                                               std::size_t drive) const {
  Setting own = setting;
  own.folder = setting.folder / "mounted";
  if (method != "serial") own.memory_limit = 0;
  return MakeMountedContender(drives_[drive], own, method == "ext4-direct");
}

Result<std::unique_ptr<Contender>> DriveMethodsOf::MakeRaw(DeviceKind kind, const Setting& setting,
                                                           std::size_t drive,
                                                           std::span<std::byte> buffer) const {
  DeviceConfig device;
  device.name = drives_[drive].name;
  device.read_bytes_per_s = device.write_bytes_per_s = 1e9;
  Address(device, kind, drives_[drive]);
  return MakeRawContender(device, setting, first_ + drive, buffer);
}

Result<std::unique_ptr<Contender>> DriveMethodsOf::MakePool(DeviceKind kind, const Setting& setting,
                                                            std::span<std::byte> buffer) const {
  PoolParts parts = MakePoolParts(setting, Placement::kBandwidth);
  for (std::size_t i = 0; i < parts.config.devices.size(); ++i) {
    const std::size_t d = parts.device_of[i];
    if (d < first_) continue;
    Address(parts.config.devices[i], kind, drives_[d - first_]);
    parts.config.devices[i].name = drives_[d - first_].name;
  }
  return MakePoolContender(setting, std::move(parts), buffer);
}

Result<std::unique_ptr<Contender>> DriveMethodsOf::Make(std::string_view method,
                                                        const Setting& setting,
                                                        std::span<std::byte> buffer) {
  FindAgain();
  const std::size_t fastest = Fastest(setting);
  if (method == "serial" || method.starts_with("ext4-")) {
    return MakeOnFiles(method, setting, fastest);
  }
  if (method == "fio-block") {
    return MakeRooflineContender(drives_, setting, Roofline::kFioBlock);
  }
  if (method == "fio-nvme") return MakeRooflineContender(drives_, setting, Roofline::kFioNvme);
  if (method == "spdk-perf") return MakeRooflineContender(drives_, setting, Roofline::kSpdkPerf);
  const bool pool = method.starts_with("pool-");
  const auto make = [&](DeviceKind kind) {
    return pool ? MakePool(kind, setting, buffer) : MakeRaw(kind, setting, fastest, buffer);
  };
  if (method.ends_with("block")) return make(DeviceKind::kBlock);
  if (method.ends_with("nvme")) return make(DeviceKind::kNvme);
  auto taken = UserSpaceDrives::Take(pool ? drives_ : std::vector{drives_[fastest]});
  if (!taken) return tl::unexpected(taken.error());
  auto inner = make(DeviceKind::kSpdk);
  if (!inner) return inner;
  return Hold(std::move(*taken), std::move(*inner));
}

// A drive that may be written to: whatever it carries is refused, or wiped where that was asked.
Result<void> Clear(const device::MachineDrive& drive, bool erase) {
  const DeviceConfig config{.name = drive.name, .kind = DeviceKind::kBlock, .path = drive.block};
  device::CreateOptions options;
  options.label = {.pool_id = 1, .device_id = 1, .index = 0, .count = 1};
  options.force = erase;
  options.confirm = erase ? drive.block.string() : "";
  auto made = device::CreateDevice(config, options);
  if (!made && made.error().status == Status::kExists) {
    return Fail(Status::kExists, made.error().message + " (here: --erase)");
  }
  if (!made) return made;
  return WipeEnds(drive);
}

// Each drive alone, as fio reads it: what the figures are measured against.
Result<DeviceSpeed> MeasureDrive(const device::MachineDrive& drive) {
  const auto content = mem::Region::Make({.bytes = 16 * kMiB, .shareable = false, .lock = false});
  if (!content) return tl::unexpected(content.error());
  FillBlock(1, 1, (*content)->bytes());
  const std::uint64_t bytes = std::min<std::uint64_t>(kFilled, drive.bytes / kMiB * kMiB);
  if (auto filled = FillStart(drive, (*content)->bytes(), bytes); !filled) {
    return tl::unexpected(filled.error());
  }
  auto figures =
      RunFio({.targets = {drive.block.string()}, .bytes = bytes, .seconds = kMeasuredSeconds});
  if (!figures) return tl::unexpected(figures.error());
  if (auto wiped = WipeEnds(drive); !wiped) return tl::unexpected(wiped.error());
  return DeviceSpeed{.name = drive.name,
                     .kind = DeviceKind::kFile,
                     .read_bytes_per_s = figures->bytes_per_s,
                     .write_bytes_per_s = figures->bytes_per_s};
}

Result<std::vector<device::MachineDrive>> NamedDrives(const DrivesOptions& options) {
  std::vector<device::MachineDrive> drives;
  for (const auto& path : options.drives) {
    auto drive = FindDrive(path);
    if (!drive) return tl::unexpected(drive.error());
    const bool twice =
        std::any_of(drives.begin(), drives.end(),
                    [&](const device::MachineDrive& one) { return one.name == drive->name; });
    if (twice) {
      return Fail(Status::kInvalid, fmt::format("{} is named twice.", drive->block.string()));
    }
    if (auto clear = Clear(*drive, options.erase); !clear) return tl::unexpected(clear.error());
    drives.push_back(*drive);
  }
  return drives;
}

// The whole context lies on one drive for some methods, on ext4 with its own tables.
Result<void> CheckRoom(const Setting& setting, const std::vector<device::MachineDrive>& drives) {
  if (auto enough = CheckMemory(2 * setting.context_bytes()); !enough) return enough;
  const std::uint64_t needed = setting.context_bytes() / 100 * 105 + 128 * kMiB;
  for (const device::MachineDrive& drive : drives) {
    if (drive.bytes >= needed) continue;
    return Fail(Status::kNoSpace,
                fmt::format("{} has {} and this needs {} on each drive: use a smaller --context.",
                            drive.block.string(), FormatBytes(drive.bytes), FormatBytes(needed)));
  }
  return {};
}

Result<Plan> MakeDrivesPlan(const DrivesOptions& options) {
  auto drives = NamedDrives(options);
  if (!drives) return tl::unexpected(drives.error());
  Plan plan;
  plan.setting = MakeSetting(options.bench);
  plan.cases = MakeCases(options.bench, plan.setting.blocks);
  if (auto room = CheckRoom(plan.setting, *drives); !room) return tl::unexpected(room.error());
  auto scratch = Scratch::Make(std::filesystem::temp_directory_path());
  if (!scratch) return tl::unexpected(scratch.error());
  plan.scratch.emplace(std::move(*scratch));
  plan.setting.folder = plan.scratch->path();
  if (options.memory_bytes_per_s > 0) {
    plan.setting.devices.push_back({.name = "memory",
                                    .kind = DeviceKind::kMemory,
                                    .read_bytes_per_s = options.memory_bytes_per_s,
                                    .write_bytes_per_s = options.memory_bytes_per_s,
                                    .emulated = true});
  }
  const std::size_t first = plan.setting.devices.size();
  for (const device::MachineDrive& drive : *drives) {
    auto speed = MeasureDrive(drive);
    if (!speed) return tl::unexpected(speed.error());
    plan.setting.devices.push_back(*speed);
  }
  ApplyMemorySpeed(plan);
  AddFacts(options.bench, plan);
  const auto methods = std::make_shared<DriveMethodsOf>(std::move(*drives), first);
  plan.make = [methods](std::string_view method, const Setting& setting,
                        std::span<std::byte> buffer) {
    return methods->Make(method, setting, buffer);
  };
  return plan;
}

}  // namespace

std::span<const std::string_view> DriveMethods() { return kMethods; }

Result<std::vector<std::string>> ParseDriveMethods(std::string_view text) {
  return ParseMethodsOf(text, kMethods);
}

Result<BenchResult> RunDrivesBench(DrivesOptions options) {
  options.bench.bench_name = "drives";
  options.bench.devices.clear();
  if (options.drives.empty()) {
    return Fail(Status::kInvalid, "no drives: name some with --drives /dev/nvme0n1,/dev/nvme1n1.");
  }
  if (const auto problems = ValidateRun(options.bench); !problems.empty()) {
    return Fail(Status::kInvalid, fmt::format("{}", fmt::join(problems, " ")));
  }
  auto plan = MakeDrivesPlan(options);
  if (!plan) return tl::unexpected(plan.error());
  return RunPlan(options.bench, std::move(*plan));
}

}  // namespace kvpool::bench
