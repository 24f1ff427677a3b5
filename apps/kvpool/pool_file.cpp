#include "apps/kvpool/pool_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "base/limits.h"
#include "base/units.h"

namespace kvpool::cli {
namespace {

namespace fs = std::filesystem;

std::uint64_t WholeSlabs(std::uint64_t bytes) { return bytes / kSlabBytes * kSlabBytes; }

// Bandwidths that a person reads; more digits would be noise.
double WholeMegabytes(double bytes_per_s) {
  return std::max(1.0, std::round(bytes_per_s / 1e6)) * 1e6;
}

// Letters, digits and dashes of the path's last part, made unique.
std::string NameFor(const Probed& probed, const std::vector<DeviceConfig>& others) {
  std::string stem;
  if (probed.kind == DeviceKind::kMemory) {
    stem = fmt::format("memory{}", std::max(probed.numa_node, 0));
  } else {
    const fs::path path = probed.path.has_filename() ? probed.path : probed.path.parent_path();
    for (const char c : path.filename().string()) {
      stem += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '-';
    }
  }
  if (stem.empty()) stem = "root";
  std::string name = stem;
  const auto taken = [&](const DeviceConfig& device) { return device.name == name; };
  for (int i = 2; std::any_of(others.begin(), others.end(), taken); ++i) {
    name = fmt::format("{}-{}", stem, i);
  }
  return name;
}

Result<std::uint64_t> FileCapacity(const Probed& probed, const PoolFileOptions& options) {
  const std::uint64_t bytes = WholeSlabs(options.capacity_bytes.value_or(probed.free_bytes / 4));
  if (bytes == 0) {
    return Fail(Status::kInvalid, fmt::format("{} has no room for a file of {}: free some space or "
                                              "name another folder",
                                              probed.path.string(), FormatBytes(kSlabBytes)));
  }
  if (bytes > probed.free_bytes) {
    return Fail(
        Status::kInvalid,
        fmt::format("--capacity {} is more than the {} that are free in {}: ask for less",
                    FormatBytes(bytes), FormatBytes(probed.free_bytes), probed.path.string()));
  }
  return bytes;
}

Result<std::uint64_t> MemoryCapacity(std::uint64_t nodes, const PoolFileOptions& options) {
  const std::uint64_t wanted = options.memory_bytes.value_or(options.available_bytes / 2);
  if (wanted > options.available_bytes) {
    return Fail(Status::kInvalid,
                fmt::format("--memory {} is more than the {} that this process may take: ask for "
                            "less or free some memory",
                            FormatBytes(wanted), FormatBytes(options.available_bytes)));
  }
  const std::uint64_t bytes = WholeSlabs(wanted / nodes);
  if (bytes > 0) return bytes;
  return Fail(Status::kInvalid, fmt::format("--memory {} is less than {} a node: ask for more, or "
                                            "for 0 to leave memory out",
                                            FormatBytes(wanted), FormatBytes(kSlabBytes)));
}

Result<std::uint64_t> CapacityOf(const Probed& probed, std::uint64_t nodes,
                                 const PoolFileOptions& options) {
  switch (probed.kind) {
    case DeviceKind::kMemory:
      return MemoryCapacity(nodes, options);
    case DeviceKind::kFile:
      return FileCapacity(probed, options);
    case DeviceKind::kBlock:
    case DeviceKind::kNvme:
    case DeviceKind::kSpdk:
    case DeviceKind::kDrive:
      break;
  }
  return std::uint64_t{0};  // all of it
}

}  // namespace

Result<Config> MakeConfig(const std::vector<Probed>& probed, const PoolFileOptions& options) {
  const auto nodes = static_cast<std::uint64_t>(
      std::count_if(probed.begin(), probed.end(),
                    [](const Probed& each) { return each.kind == DeviceKind::kMemory; }));
  const fs::path out = fs::absolute(options.out);
  Config config;
  config.name = out.stem().string();
  config.catalog = fs::path(out).replace_extension(".catalog");
  for (const Probed& each : probed) {
    const auto capacity = CapacityOf(each, nodes, options);
    if (!capacity) return tl::unexpected(capacity.error());
    DeviceConfig device;
    device.name = NameFor(each, config.devices);
    device.kind = each.kind;
    device.capacity_bytes = *capacity;
    device.numa_node = each.numa_node;
    device.read_bytes_per_s = WholeMegabytes(each.measured.read_bytes_per_s);
    device.write_bytes_per_s =
        WholeMegabytes(each.measured.write_bytes_per_s > 0 ? each.measured.write_bytes_per_s
                                                           : each.measured.read_bytes_per_s / 2);
    if (each.kind != DeviceKind::kMemory) device.path = fs::absolute(each.path).lexically_normal();
    if (each.kind == DeviceKind::kFile) {
      device.path /= config.name + "-" + device.name + ".kvpool";
      device.accept_buffered = options.accept_buffered;
    }
    config.devices.push_back(std::move(device));
  }
  return config;
}

}  // namespace kvpool::cli
