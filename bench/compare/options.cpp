// Reading what the command line was told.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/limits.h"
#include "bench/compare/bench.h"

namespace kvpool::bench {
namespace {

constexpr std::array<std::string_view, 5> kMethods = {"pool", "equal", "serial", "serial-direct",
                                                      "fio"};
constexpr std::string_view kDeviceForms =
    "write devices as memory, memory:3000, memory@1:3000, file or file:800 (MB/s of 10^6 bytes), "
    "separated by commas";

std::vector<std::string_view> Split(std::string_view text) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t comma = text.find(',');
    parts.push_back(text.substr(0, comma));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

template <class T>
bool ParseNumber(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

Result<BenchDevice> ParseDevice(std::string_view text) {
  const auto refused = [&] {
    return Fail(Status::kInvalid, fmt::format("\"{}\" is not a device: {}.", text, kDeviceForms));
  };
  BenchDevice device;
  const std::size_t colon = text.find(':');
  std::string_view kind = text.substr(0, colon);
  if (colon != std::string_view::npos) {
    double mb_per_s = 0;
    if (!ParseNumber(text.substr(colon + 1), mb_per_s) || !std::isfinite(mb_per_s) ||
        mb_per_s < 0 || mb_per_s > 1e9) {
      return refused();
    }
    device.bytes_per_s = mb_per_s * 1e6;
  }
  const std::size_t at = kind.find('@');
  if (at != std::string_view::npos) {
    if (!ParseNumber(kind.substr(at + 1), device.numa_node) || device.numa_node < 0) {
      return refused();
    }
    kind = kind.substr(0, at);
  }
  if (kind == "memory") {
    device.kind = DeviceKind::kMemory;
  } else if (kind == "file" && at == std::string_view::npos) {
    device.kind = DeviceKind::kFile;
  } else {
    return refused();
  }
  return device;
}

bool Has(const BenchOptions& options, DeviceKind kind) {
  return std::any_of(options.devices.begin(), options.devices.end(),
                     [&](const BenchDevice& d) { return d.kind == kind; });
}

void ValidateGeometry(const BenchOptions& options, std::vector<std::string>& problems) {
  const Geometry& geometry = options.geometry;
  const std::uint64_t block = geometry.block_bytes();
  if (geometry.layers == 0 || geometry.layers > kMaxLayers) {
    problems.push_back(fmt::format("layers must be 1 to {}.", kMaxLayers));
  }
  if (block == 0 || block % kIoAlignment != 0) {
    problems.push_back("a block must be a multiple of 4 KiB: change the tokens a block.");
    return;
  }
  if (options.unit_bytes < kMinSlotBytes || options.unit_bytes > kMaxUnitBytes ||
      (options.unit_bytes & (options.unit_bytes - 1)) != 0) {
    problems.push_back("the unit must be a power of two, 32 KiB to 2 MiB.");
  } else if (block / options.unit_bytes > kMaxUnitsPerBlock) {
    problems.push_back(
        fmt::format("a block has more than {} units: use a larger unit.", kMaxUnitsPerBlock));
  }
  if (options.context_bytes < block) {
    problems.push_back(
        fmt::format("the context must be at least one block of {} bytes: make it larger, or use "
                    "fewer tokens a block.",
                    block));
  } else if (options.context_bytes / block > kMaxBatchKeys) {
    problems.push_back(fmt::format("the context has more than {} blocks: use more tokens a block.",
                                   kMaxBatchKeys));
  }
}

}  // namespace

std::span<const std::string_view> KnownMethods() { return kMethods; }

Result<std::vector<BenchDevice>> ParseDevices(std::string_view text) {
  std::vector<BenchDevice> devices;
  for (const std::string_view part : Split(text)) {
    auto device = ParseDevice(part);
    if (!device) return tl::unexpected(device.error());
    devices.push_back(*device);
  }
  return devices;
}

Result<std::vector<double>> ParsePercents(std::string_view text) {
  std::vector<double> percents;
  for (std::string_view part : Split(text)) {
    if (part.ends_with('%')) part.remove_suffix(1);
    double percent = 0;
    if (!ParseNumber(part, percent) || !(percent > 0 && percent <= 100)) {
      return Fail(Status::kInvalid,
                  fmt::format("\"{}\" is not a prefix: give percent of the context, above 0 and at "
                              "most 100, as in 5,25,100.",
                              part));
    }
    percents.push_back(percent);
  }
  return percents;
}

Result<double> ParseFraction(std::string_view text) {
  double percent = 0;
  if (!text.ends_with('%') || !ParseNumber(text.substr(0, text.size() - 1), percent) ||
      !(percent >= 0 && percent <= 100)) {
    return Fail(Status::kInvalid,
                fmt::format("\"{}\" is not a fraction: give a percentage, as in 25%.", text));
  }
  return percent / 100;
}

Result<std::vector<std::string>> ParseMethodsOf(std::string_view text,
                                                std::span<const std::string_view> known) {
  std::vector<std::string> methods;
  for (const std::string_view part : Split(text)) {
    if (std::find(known.begin(), known.end(), part) == known.end()) {
      return Fail(Status::kInvalid, fmt::format("there is no method \"{}\": choose from {}.", part,
                                                fmt::join(known, ", ")));
    }
    if (std::find(methods.begin(), methods.end(), part) == methods.end()) {
      methods.emplace_back(part);
    }
  }
  return methods;
}

Result<std::vector<std::string>> ParseMethods(std::string_view text) {
  return ParseMethodsOf(text, kMethods);
}

std::vector<std::string> Validate(const BenchOptions& options) {
  std::vector<std::string> problems;
  if (options.devices.empty()) problems.push_back(fmt::format("no devices: {}.", kDeviceForms));
  if (options.devices.size() > kMaxDevices) {
    problems.push_back(fmt::format("at most {} devices.", kMaxDevices));
  }
  if (Has(options, DeviceKind::kFile) && options.dir.empty()) {
    problems.push_back("file devices need a folder: name one with --dir.");
  }
  if (options.methods.empty()) problems.push_back("no method to run.");
  if (options.memory_limit && !(*options.memory_limit >= 0 && *options.memory_limit <= 1)) {
    problems.push_back("the memory limit must be 0% to 100%.");
  }
  if (options.memory_limit && *options.memory_limit < 1 && !Has(options, DeviceKind::kFile)) {
    problems.push_back("a memory limit needs file devices for the rest.");
  }
  const bool fio =
      std::find(options.methods.begin(), options.methods.end(), "fio") != options.methods.end();
  const bool fast_file = std::any_of(
      options.devices.begin(), options.devices.end(),
      [](const BenchDevice& d) { return d.kind == DeviceKind::kFile && d.bytes_per_s <= 0; });
  if (fio && !fast_file) {
    problems.push_back("fio reads at full speed only: give a file device without a speed.");
  }
  for (std::string& problem : ValidateRun(options)) problems.push_back(std::move(problem));
  return problems;
}

std::vector<std::string> ValidateRun(const BenchOptions& options) {
  std::vector<std::string> problems;
  if (options.prefix_percent.empty()) problems.push_back("no prefix to retrieve: give one, 100.");
  if (options.repeat < 1 || options.repeat > 1000) problems.push_back("repeat must be 1 to 1000.");
  ValidateGeometry(options, problems);
  return problems;
}

}  // namespace kvpool::bench
