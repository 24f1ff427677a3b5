#include "bench/compare/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "base/limits.h"
#include "base/units.h"
#include "bench/compare/arithmetic.h"
#include "bench/compare/measure.h"
#include "mem/region.h"

namespace kvpool::bench {
namespace {

constexpr std::uint64_t kLeastMeasured = 16 * kMiB;  // a small run should not wait for more
constexpr std::uint64_t kMostMeasured = 256 * kMiB;
constexpr std::uint64_t kSpareMemory = 128 * kMiB;  // for the process itself

std::uint64_t MeasureBytes(const Setting& setting) {
  return std::clamp(setting.context_bytes(), kLeastMeasured, kMostMeasured);
}

std::string Join(const std::vector<std::string>& sentences) {
  return fmt::format("{}", fmt::join(sentences, " "));
}

}  // namespace

Setting MakeSetting(const BenchOptions& options) {
  Setting setting;
  setting.block_bytes = options.geometry.block_bytes();
  setting.blocks = options.context_bytes / setting.block_bytes;
  setting.layers = options.geometry.layers;
  setting.unit_bytes = options.unit_bytes;
  setting.memory_limit = options.memory_limit;
  setting.verify = options.verify;
  setting.accept_buffered = options.accept_buffered;
  setting.lease = options.lease;
  setting.stop = options.stop;
  int memories = 0;
  int files = 0;
  for (const BenchDevice& device : options.devices) {
    const bool memory = device.kind == DeviceKind::kMemory;
    DeviceSpeed speed;
    speed.name = fmt::format("{} {}", memory ? "memory" : "file", memory ? ++memories : ++files);
    speed.kind = device.kind;
    speed.numa_node = device.numa_node;
    speed.read_bytes_per_s = device.bytes_per_s;
    speed.write_bytes_per_s = device.bytes_per_s;
    speed.emulated = device.bytes_per_s > 0;
    setting.devices.push_back(speed);
  }
  return setting;
}

std::vector<Case> MakeCases(const BenchOptions& options, std::uint64_t blocks) {
  std::vector<Case> cases;
  for (const double percent : options.prefix_percent) {
    const double exact = static_cast<double>(blocks) * percent / 100;
    const auto rounded = static_cast<std::uint64_t>(std::ceil(exact - 1e-9));
    cases.push_back(
        {fmt::format("prefix={:g}%", percent), std::clamp<std::uint64_t>(rounded, 1, blocks)});
  }
  return cases;
}

// Gives devices of full speed what was measured, and warns of emulated ones that were promised more
// than there is.
void ApplyMemorySpeed(Plan& plan) {
  double emulated = 0;
  bool any = false;
  for (const DeviceSpeed& device : plan.setting.devices) {
    if (device.kind != DeviceKind::kMemory) continue;
    any = true;
    emulated = std::max(emulated, device.emulated ? device.read_bytes_per_s : 0);
  }
  if (!any) return;
  const double measured = MeasureMemory(MeasureBytes(plan.setting));
  for (DeviceSpeed& device : plan.setting.devices) {
    if (device.kind != DeviceKind::kMemory || device.emulated) continue;
    device.read_bytes_per_s = device.write_bytes_per_s = std::max(measured, 1e6);
  }
  plan.facts.emplace_back("Memory, measured",
                          fmt::format("{}, one thread copying", FormatRate(measured)));
  if (!plan.setting.lease && emulated > 0.8 * measured) {
    plan.warnings.push_back(
        fmt::format("One thread copies memory at {} here, which is little for a device emulated at "
                    "{}: lower its speed for figures that count.",
                    FormatRate(measured), FormatRate(emulated)));
  }
}

namespace {

Result<void> ApplyFolderSpeed(Plan& plan, const Filesystem& filesystem, std::uint64_t seed) {
  double emulated = 0;
  double full_speed_files = 0;
  for (const DeviceSpeed& device : plan.setting.devices) {
    if (device.kind != DeviceKind::kFile) continue;
    emulated += device.emulated ? device.read_bytes_per_s : 0;
    full_speed_files += device.emulated ? 0 : 1;
  }
  auto measured = MeasureFolder(plan.setting.folder, MeasureBytes(plan.setting), seed);
  if (!measured) return tl::unexpected(measured.error());
  for (DeviceSpeed& device : plan.setting.devices) {
    if (device.kind != DeviceKind::kFile || device.emulated) continue;
    device.read_bytes_per_s = measured->read_bytes_per_s / full_speed_files;
    device.write_bytes_per_s = measured->write_bytes_per_s / full_speed_files;
  }
  plan.facts.emplace_back(
      "Folder, measured",
      fmt::format("{}, reads at {}, writes at {}, many requests at once", filesystem.type,
                  FormatRate(measured->read_bytes_per_s), FormatRate(measured->write_bytes_per_s)));
  const double slower = std::min(measured->read_bytes_per_s, measured->write_bytes_per_s);
  if (emulated > 0.8 * slower) {
    plan.warnings.push_back(
        fmt::format("The folder gives {}, which is little for file devices emulated at {} "
                    "together: lower their speeds, or name a folder in memory (/dev/shm), for "
                    "figures that count.",
                    FormatRate(slower), FormatRate(emulated)));
  }
  return {};
}

}  // namespace

Result<void> CheckMemory(std::uint64_t needed) {
  const std::uint64_t available = mem::AvailableMemory();
  if (needed <= available) return {};
  return Fail(Status::kNoSpace,
              fmt::format("this needs {} of memory (the context itself, and what is kept of it in "
                          "memory), and {} is available: use a smaller --context.",
                          FormatBytes(needed), FormatBytes(available)));
}

namespace {

Result<void> CheckRoom(const Plan& plan, const BenchOptions& options,
                       const std::optional<Filesystem>& filesystem) {
  Need most;
  for (const std::string& method : options.methods) {
    const Need need = NeedOf(method, plan.setting);
    most.memory_bytes = std::max(most.memory_bytes, need.memory_bytes);
    most.disk_bytes = std::max(most.disk_bytes, need.disk_bytes);
  }
  std::uint64_t memory = plan.setting.context_bytes() + most.memory_bytes + kSpareMemory;
  if (filesystem && filesystem->in_memory) memory += most.disk_bytes;
  if (auto enough = CheckMemory(memory); !enough) return enough;
  if (filesystem && most.disk_bytes > filesystem->free_bytes) {
    return Fail(Status::kNoSpace,
                fmt::format("this needs {} in {}, and {} is free there: use a smaller --context or "
                            "another --dir.",
                            FormatBytes(most.disk_bytes), options.dir.string(),
                            FormatBytes(filesystem->free_bytes)));
  }
  return {};
}

}  // namespace

void AddFacts(const BenchOptions& options, Plan& plan) {
  const Setting& setting = plan.setting;
  const Geometry& geometry = options.geometry;
  std::vector<std::string> devices;
  for (const DeviceSpeed& device : setting.devices) {
    devices.push_back(fmt::format("{} at {}{}", device.name, FormatRate(device.read_bytes_per_s),
                                  device.emulated ? " (emulated)" : ""));
  }
  auto& facts = plan.facts;
  facts.insert(facts.begin(),
               {{"Context", fmt::format("{}: {} blocks of {}", FormatBytes(setting.context_bytes()),
                                        setting.blocks, FormatBytes(setting.block_bytes))},
                {"Geometry", fmt::format("{}: {} layers, {} tokens a block, {} a token",
                                         geometry.name, geometry.layers, geometry.block_tokens,
                                         FormatBytes(geometry.bytes_per_token))},
                {"Devices", fmt::format("{}; together {}", fmt::join(devices, ", "),
                                        FormatRate(SumBytesPerS(setting)))}});
  facts.emplace_back("Memory limit", setting.memory_limit
                                         ? fmt::format("{:g} % of the context, for every method",
                                                       *setting.memory_limit * 100)
                                         : std::string("none: placing freely"));
  facts.emplace_back("Memory", setting.lease ? "handed out in place, by every method"
                                             : "copied to the destination");
  facts.emplace_back("Checksums", setting.verify ? "on (pool, equal)" : "off");
  facts.emplace_back("Stripe unit", FormatBytes(setting.unit_bytes));
  facts.emplace_back(
      "Repeats",
      fmt::format("{}, methods in turn, another first each time; medians shown", options.repeat));
}

std::string SettingsText(const BenchOptions& options) {
  std::string text;
  for (const BenchDevice& device : options.devices) {
    text += fmt::format("{}@{}:{};", static_cast<int>(device.kind), device.numa_node,
                        device.bytes_per_s);
  }
  text += fmt::format("{};{};{};{};{};{};{};{};{};{};{};{};{}", options.context_bytes,
                      fmt::join(options.prefix_percent, ","), fmt::join(options.methods, ","),
                      options.repeat, options.memory_limit.value_or(-1), options.verify,
                      options.accept_buffered, options.lease, options.geometry.layers,
                      options.geometry.block_tokens, options.geometry.bytes_per_token,
                      options.unit_bytes, options.seed);
  return text;
}

Result<Plan> MakePlan(const BenchOptions& options) {
  if (const auto problems = Validate(options); !problems.empty()) {
    return Fail(Status::kInvalid, Join(problems));
  }
  Plan plan;
  plan.setting = MakeSetting(options);
  plan.cases = MakeCases(options, plan.setting.blocks);
  // The least that is needed, before time is spent on measuring.
  if (auto enough = CheckMemory(plan.setting.context_bytes()); !enough) {
    return tl::unexpected(enough.error());
  }
  std::optional<Filesystem> filesystem;
  const bool files = std::any_of(options.devices.begin(), options.devices.end(),
                                 [](const BenchDevice& d) { return d.kind == DeviceKind::kFile; });
  if (files) {
    auto scratch = Scratch::Make(options.dir);
    if (!scratch) return tl::unexpected(scratch.error());
    plan.scratch.emplace(std::move(*scratch));
    plan.setting.folder = plan.scratch->path();
    auto found = FilesystemOf(plan.setting.folder);
    if (!found) return tl::unexpected(found.error());
    filesystem = *found;
    if (filesystem->free_bytes < MeasureBytes(plan.setting)) {
      return Fail(
          Status::kNoSpace,
          fmt::format("{} has {} free, too little to measure it: make room, or name another "
                      "--dir.",
                      options.dir.string(), FormatBytes(filesystem->free_bytes)));
    }
    auto applied = ApplyFolderSpeed(plan, *filesystem, options.seed);
    if (!applied) return tl::unexpected(applied.error());
    if (filesystem->in_memory) {
      plan.warnings.push_back(
          "The folder lies in memory: nothing can be dropped from its page cache, and the pool's "
          "files share the processor's memory bandwidth.");
    }
  }
  ApplyMemorySpeed(plan);
  if (auto room = CheckRoom(plan, options, filesystem); !room) {
    return tl::unexpected(room.error());
  }
  AddFacts(options, plan);
  return plan;
}

}  // namespace kvpool::bench
