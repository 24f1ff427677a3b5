#include <fmt/format.h>

#include <cmath>

#include "base/limits.h"
#include "kvpool/config.h"

namespace kvpool {
namespace {

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string Size(std::uint64_t bytes) {
  if (bytes != 0 && bytes % kGiB == 0) return fmt::format("\"{}GiB\"", bytes / kGiB);
  if (bytes != 0 && bytes % kMiB == 0) return fmt::format("\"{}MiB\"", bytes / kMiB);
  if (bytes != 0 && bytes % kKiB == 0) return fmt::format("\"{}KiB\"", bytes / kKiB);
  return fmt::format("{}", bytes);
}

// The shortest text that is the same double again.
std::string Rate(double bytes_per_s) {
  const double megabytes = bytes_per_s / 1e6;
  if (megabytes >= 1 && megabytes < 1e9 && std::floor(megabytes) * 1e6 == bytes_per_s) {
    return fmt::format("\"{:.0f}MB/s\"", megabytes);
  }
  return fmt::format("{}", bytes_per_s);
}

const char* Word(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::kMemory:
      return "memory";
    case DeviceKind::kFile:
      return "file";
    case DeviceKind::kBlock:
      return "block";
    case DeviceKind::kNvme:
      return "nvme";
    case DeviceKind::kSpdk:
      return "spdk";
    case DeviceKind::kDrive:
      return "drive";
  }
  return "";
}

std::string Slow(const SlowConfig& slow) {
  std::string out = fmt::format("{{ bandwidth = {}, latency_us = {}, seed = {}",
                                Rate(slow.bytes_per_s), slow.latency_us, slow.seed);
  for (const SlowStep& step : slow.later) {
    out += fmt::format("{}{{ after_s = {}, bandwidth = {} }}",
                       &step == &slow.later.front() ? ", later = [" : ", ", step.after_s,
                       Rate(step.bytes_per_s));
  }
  return out + (slow.later.empty() ? " }" : "] }");
}

void AddDevice(const DeviceConfig& device, std::string& out) {
  const auto line = [&out](const char* key, const std::string& value) {
    out += fmt::format("{} = {}\n", key, value);
  };
  out += "\n[[device]]\n";
  line("name", Quoted(device.name));
  line("kind", Quoted(Word(device.kind)));
  if (!device.path.empty()) line("path", Quoted(device.path.string()));
  if (!device.address.empty()) line("address", Quoted(device.address));
  if (device.capacity_bytes != 0) line("capacity", Size(device.capacity_bytes));
  if (device.numa_node != -1) line("numa_node", fmt::format("{}", device.numa_node));
  line("read_bandwidth", Rate(device.read_bytes_per_s));
  line("write_bandwidth", Rate(device.write_bytes_per_s));
  if (device.write_budget_per_day != 0)
    line("write_budget_per_day", Size(device.write_budget_per_day));
  if (device.accept_buffered) line("accept_buffered", "true");
  if (device.polled) line("polled", "true");
  if (!device.faults.empty()) line("faults", Quoted(device.faults));
  if (device.slow) {
    line("slow", Slow(*device.slow));
  }
}

std::string List(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) {
    if (!out.empty()) out += ", ";
    out += Quoted(text);
  }
  return "[" + out + "]";
}

void AddLink(const LinkConfig& link, std::string& out) {
  out += fmt::format("\n[[link]]\nname = {}\nbandwidth = {}\ndevices = {}\n", Quoted(link.name),
                     Rate(link.bytes_per_s), List(link.devices));
}

void AddGpu(const GpuConfig& gpu, std::string& out) {
  out += fmt::format("\n[[gpu]]\nname = {}\nkind = \"{}\"\n", Quoted(gpu.name),
                     gpu.kind == GpuKind::kNull ? "null" : "cuda");
  if (gpu.ordinal != 0) out += fmt::format("ordinal = {}\n", gpu.ordinal);
  if (gpu.bytes_per_s != 0) out += fmt::format("bandwidth = {}\n", Rate(gpu.bytes_per_s));
  if (gpu.latency_us != 0) out += fmt::format("latency_us = {}\n", gpu.latency_us);
  if (gpu.numa_node != -1) out += fmt::format("numa_node = {}\n", gpu.numa_node);
}

void AddTenant(const TenantConfig& tenant, std::string& out) {
  out += fmt::format("\n[[tenant]]\nname = {}\n", Quoted(tenant.name));
  if (!tenant.users.empty()) out += fmt::format("users = {}\n", List(tenant.users));
  if (!tenant.groups.empty()) out += fmt::format("groups = {}\n", List(tenant.groups));
  if (tenant.quota_bytes) out += fmt::format("quota = {}\n", Size(*tenant.quota_bytes));
  out += fmt::format("weight = {}\n", tenant.weight);
  if (!tenant.readers.empty()) out += fmt::format("readers = {}\n", List(tenant.readers));
}

}  // namespace

std::string Config::ToToml() const {
  std::string out = fmt::format("[pool]\nversion = {}\nname = {}\nunit = {}\npolicy = {}\n",
                                version, Quoted(name), Size(unit_bytes), Quoted(policy));
  out += fmt::format("admission = \"{}\"\n",
                     admission == Admission::kSecondSight ? "second-sight" : "all");
  out += fmt::format("placement = \"{}\"\nadapt = {}\nverify = {}\n",
                     placement == Placement::kEqual ? "equal" : "bandwidth", adapt, verify);
  if (!catalog.empty()) out += fmt::format("catalog = {}\n", Quoted(catalog.string()));
  out += fmt::format("lanes = {}\ndeadline_ms = {}\ncreate_if_missing = {}\n", lanes,
                     deadline.count(), create_if_missing);
  if (!socket.empty()) out += fmt::format("socket = {}\n", Quoted(socket.string()));
  if (!metrics.empty()) out += fmt::format("metrics = {}\n", Quoted(metrics));
  for (const DeviceConfig& device : devices) AddDevice(device, out);
  for (const LinkConfig& link : links) AddLink(link, out);
  for (const GpuConfig& gpu : gpus) AddGpu(gpu, out);
  for (const TenantConfig& tenant : tenants) AddTenant(tenant, out);
  return out;
}

}  // namespace kvpool
