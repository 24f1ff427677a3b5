// A pool of somebody's, measured as it is.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "bench/compare/bench.h"
#include "bench/compare/plan.h"

namespace kvpool::bench {
namespace {

DeviceSpeed SpeedOf(const DeviceConfig& device) {
  return {.name = device.name,
          .kind = device.kind == DeviceKind::kMemory ? DeviceKind::kMemory : DeviceKind::kFile,
          .numa_node = device.numa_node,
          .read_bytes_per_s = device.read_bytes_per_s,
          .write_bytes_per_s = device.write_bytes_per_s,
          .emulated = device.slow.has_value()};
}

}  // namespace

Result<BenchResult> RunPoolBench(const Config& config, BenchOptions options) {
  options.bench_name = "pool";
  options.methods = {"pool"};
  options.devices.clear();
  options.unit_bytes = config.unit_bytes;
  options.verify = options.verify && config.verify;
  if (const auto problems = ValidateRun(options); !problems.empty()) {
    return Fail(Status::kInvalid, fmt::format("{}", fmt::join(problems, " ")));
  }
  Plan plan;
  plan.setting = MakeSetting(options);
  plan.cases = MakeCases(options, plan.setting.blocks);
  PoolParts parts{.config = config, .keep = true};
  parts.config.verify = options.verify;
  for (std::size_t d = 0; d < config.devices.size(); ++d) {
    plan.setting.devices.push_back(SpeedOf(config.devices[d]));
    parts.device_of.push_back(d);
  }
  if (auto enough = CheckMemory(plan.setting.context_bytes()); !enough) {
    return tl::unexpected(enough.error());
  }
  AddFacts(options, plan);
  plan.make = [parts](std::string_view, const Setting& setting, std::span<std::byte> buffer) {
    return MakePoolContender(setting, parts, buffer);
  };
  return RunPlan(options, std::move(plan));
}

}  // namespace kvpool::bench
