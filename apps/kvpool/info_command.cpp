#include <fmt/format.h>

#include <memory>

#include "apps/kvpool/options.h"
#include "apps/kvpool/outputs.h"
#include "apps/kvpool/results.h"
#include "apps/kvpool/table.h"
#include "base/units.h"
#include "kvpool/config.h"
#include "kvpool/pool.h"

namespace kvpool::cli {
namespace {

constexpr const char* kExamples =
    R"(  kvpool info --pool pool.toml              devices, the path taken to each, shares, what is stored, tenants
  kvpool info --pool pool.toml --json -     the same for a program)";

struct InfoOptions {
  std::filesystem::path pool;
  std::string json;
};

std::vector<Row> InfoRows(const Config& config, const PoolInfo& info) {
  std::vector<Row> rows{Header(config.ToToml())};
  rows.push_back({{"bench", "info"},
                  {"case", "pool"},
                  {"name", info.name},
                  {"blocks", info.blocks},
                  {"block_bytes", info.block_bytes},
                  {"blocks_lost_at_open", info.blocks_lost_at_open}});
  for (const DeviceInfo& device : info.devices) {
    rows.push_back({{"bench", "info"},
                    {"case", "device"},
                    {"name", device.name},
                    {"kind", device.kind},
                    {"description", device.description},
                    {"capacity_bytes", device.capacity_bytes},
                    {"used_bytes", device.used_bytes},
                    {"read_bytes_per_s", device.read_bytes_per_s},
                    {"write_bytes_per_s", device.write_bytes_per_s},
                    {"measured_read_bytes_per_s", device.measured_read_bytes_per_s},
                    {"measured_write_bytes_per_s", device.measured_write_bytes_per_s},
                    {"bytes_written_ever", device.bytes_written_ever},
                    {"write_budget_per_day", device.write_budget_per_day},
                    {"write_budget_left", device.write_budget_left},
                    {"share", device.share},
                    {"state", std::string(ToString(device.state))},
                    {"state_reason", device.state_reason},
                    {"io_errors", device.io_errors},
                    {"checksum_failures", device.checksum_failures},
                    {"missed_deadlines", device.missed_deadlines},
                    {"transfers_abandoned", device.transfers_abandoned}});
  }
  for (const TenantInfo& tenant : info.tenants) {
    rows.push_back({{"bench", "info"},
                    {"case", "tenant"},
                    {"name", tenant.name},
                    {"weight", tenant.weight},
                    {"blocks", tenant.blocks},
                    {"block_bytes", tenant.block_bytes},
                    {"used_bytes", tenant.used_bytes},
                    {"quota_bytes", tenant.quota_bytes},
                    {"evictions", tenant.evictions},
                    {"declined", tenant.declined},
                    {"hits", tenant.hits},
                    {"misses", tenant.misses}});
  }
  return rows;
}

// As configured, and as measured where that differs.
std::string Speed(double configured, double measured) {
  if (measured == configured) return FormatRate(configured);
  return fmt::format("{} (now {})", FormatRate(configured), FormatRate(measured));
}

// What was ever written, and what may be written yet where a budget is set.
std::string Written(const DeviceInfo& device) {
  const std::string ever = FormatBytes(device.bytes_written_ever);
  if (device.write_budget_per_day == 0) return ever;
  return fmt::format("{} ({} of {} a day left)", ever, FormatBytes(device.write_budget_left),
                     FormatBytes(device.write_budget_per_day));
}

void PrintTenants(const PoolInfo& info, std::FILE* out) {
  if (info.tenants.empty()) return;
  Table table(
      {"tenant", "weight", "blocks", "used", "quota", "evictions", "declined", "hits", "misses"});
  for (const TenantInfo& tenant : info.tenants) {
    table.Add({tenant.name, fmt::format("{}", tenant.weight), fmt::format("{}", tenant.blocks),
               FormatBytes(tenant.used_bytes),
               tenant.quota_bytes == 0 ? "none" : FormatBytes(tenant.quota_bytes),
               fmt::format("{}", tenant.evictions), fmt::format("{}", tenant.declined),
               fmt::format("{}", tenant.hits), fmt::format("{}", tenant.misses)});
  }
  table.Print(out);
}

void PrintInfo(const PoolInfo& info, std::FILE* out) {
  Table table(
      {"device", "kind", "state", "capacity", "used", "read", "write", "written", "share", "path"});
  for (const DeviceInfo& device : info.devices) {
    table.Add({device.name, device.kind, std::string(ToString(device.state)),
               FormatBytes(device.capacity_bytes), FormatBytes(device.used_bytes),
               Speed(device.read_bytes_per_s, device.measured_read_bytes_per_s),
               Speed(device.write_bytes_per_s, device.measured_write_bytes_per_s), Written(device),
               fmt::format("{:.1f} %", 100 * device.share), device.description});
  }
  fmt::print(out, "pool \"{}\": {} blocks, {}\n", info.name, info.blocks,
             FormatBytes(info.block_bytes));
  if (info.blocks_lost_at_open > 0) {
    fmt::print(
        out,
        "{} more blocks are recorded with units that were in memory only or on a drive that is "
        "not there\n",
        info.blocks_lost_at_open);
  }
  table.Print(out);
  for (const DeviceInfo& device : info.devices) {
    if (device.state == DeviceState::kServing) continue;
    fmt::print(out, "{} is {}: {}\n", device.name, ToString(device.state), device.state_reason);
  }
  for (const GpuInfo& gpu : info.gpus) {
    fmt::print(out, "gpu {}: {}{}{}\n", gpu.name, gpu.description,
               gpu.failure.empty() ? "" : "; copies fail: ", gpu.failure);
  }
  PrintTenants(info, out);
}

Result<void> RunInfo(const InfoOptions& options) {
  const Result<Config> config = LoadPoolFile(options.pool);
  if (!config) return tl::unexpected(config.error());
  auto writable = CheckOutputs({{"--json", options.json}}, FilesOf(options.pool, *config));
  if (!writable) return writable;
  const auto pool = OpenPool(*config);
  if (!pool) return tl::unexpected(pool.error());
  const PoolInfo info = (*pool)->info();
  PrintInfo(info, PeopleStream(options.json));
  return WriteRows(options.json, InfoRows(*config, info));
}

}  // namespace

void AddInfo(CLI::App& app, Action& action) {
  auto options = std::make_shared<InfoOptions>();
  CLI::App& command =
      AddCommand(app, "info", "Show a pool's devices, their shares and what is stored", kExamples,
                 action, [options] { return RunInfo(*options); });
  AddPool(command, options->pool);
  AddJson(command, options->json);
}

}  // namespace kvpool::cli
