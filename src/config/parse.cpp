#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <tuple>

#include "base/limits.h"
#include "config/depth.h"
#include "config/reader.h"
#include "config/text.h"

namespace kvpool::config {
namespace {

constexpr std::size_t kMaxFileBytes = kMiB;
constexpr std::size_t kMaxProblems = 100;  // shown of a file that is no configuration at all
constexpr std::array<std::string_view, 6> kKinds{"memory", "file", "block",
                                                 "nvme",   "spdk", "drive"};   // as DeviceKind
constexpr std::array<std::string_view, 2> kGpuKinds{"cuda", "null"};           // as GpuKind
constexpr std::array<std::string_view, 2> kPlacements{"bandwidth", "equal"};   // as Placement
constexpr std::array<std::string_view, 2> kAdmissions{"all", "second-sight"};  // as Admission

void ReadPool(Reader& reader, const std::filesystem::path& relative_to, Config& config) {
  reader.Require("version", "1");
  reader.Whole("version", config.version);
  reader.Text("name", config.name);
  reader.Size("unit", config.unit_bytes);
  reader.Text("policy", config.policy);
  auto placement = static_cast<std::size_t>(config.placement);
  reader.Choice("placement", kPlacements, placement);
  config.placement = static_cast<Placement>(placement);
  auto admission = static_cast<std::size_t>(config.admission);
  reader.Choice("admission", kAdmissions, admission);
  config.admission = static_cast<Admission>(admission);
  reader.Flag("adapt", config.adapt);
  reader.Flag("verify", config.verify);
  reader.Path("catalog", relative_to, config.catalog);
  reader.Whole("lanes", config.lanes);
  std::int64_t deadline_ms = config.deadline.count();
  reader.Whole("deadline_ms", deadline_ms);
  config.deadline = std::chrono::milliseconds(deadline_ms);
  reader.Flag("create_if_missing", config.create_if_missing);
  reader.Path("socket", relative_to, config.socket);
  reader.Text("metrics", config.metrics);
  reader.Finish();
}

SlowStep ReadSlowStep(Reader reader) {
  SlowStep step;
  reader.Require("after_s", "10");
  reader.Number("after_s", step.after_s);
  reader.Require("bandwidth", "\"400MB/s\"");
  reader.Rate("bandwidth", step.bytes_per_s);
  reader.Finish();
  return step;
}

SlowConfig ReadSlow(const toml::table& table, const std::string& prefix, const std::string& title,
                    Report& report) {
  Reader reader(table, prefix, title, report);
  SlowConfig slow;
  reader.Require("bandwidth", "\"800MB/s\"");
  reader.Rate("bandwidth", slow.bytes_per_s);
  reader.Number("latency_us", slow.latency_us);
  reader.Whole("seed", slow.seed);
  const auto steps = reader.Tables("later");
  for (std::size_t i = 0; i < std::min(steps.size(), kMaxSlowSteps + 1); ++i) {
    slow.later.push_back(ReadSlowStep(
        Reader(*steps[i], fmt::format("{}later[{}].", prefix, i), title + " later", report)));
  }
  reader.Finish();
  return slow;
}

// The name that a table will be called by in messages, before it is read.
std::string TitleOf(const char* noun, std::size_t index, const toml::table& table) {
  const auto* name = table.get_as<std::string>("name");
  return Title(noun, index, name == nullptr ? "" : name->get());
}

DeviceConfig ReadDevice(const toml::table& table, std::size_t index,
                        const std::filesystem::path& relative_to, Report& report) {
  const std::string title = TitleOf("device", index, table);
  const std::string prefix = fmt::format("device[{}].", index);
  Reader reader(table, prefix, title, report);
  DeviceConfig device;
  reader.Require("name", "\"ssd0\"");
  reader.Text("name", device.name);
  auto kind = static_cast<std::size_t>(device.kind);
  reader.Require("kind", "\"memory\", \"file\" or \"drive\"");
  reader.Choice("kind", kKinds, kind);
  device.kind = static_cast<DeviceKind>(kind);
  reader.Path("path", relative_to, device.path);
  reader.Text("address", device.address);
  reader.Size("capacity", device.capacity_bytes);
  reader.Whole("numa_node", device.numa_node);
  reader.Require("read_bandwidth", "\"800MB/s\", as `kvpool probe` measures it");
  reader.Rate("read_bandwidth", device.read_bytes_per_s);
  reader.Require("write_bandwidth", "\"800MB/s\", as `kvpool probe` measures it");
  reader.Rate("write_bandwidth", device.write_bytes_per_s);
  reader.Size("write_budget_per_day", device.write_budget_per_day);
  reader.Flag("accept_buffered", device.accept_buffered);
  reader.Flag("polled", device.polled);
  reader.Text("faults", device.faults);
  if (const toml::table* slow = reader.Table("slow")) {
    device.slow = ReadSlow(*slow, prefix + "slow.", title + " slow", report);
  }
  reader.Finish();
  return device;
}

LinkConfig ReadLink(const toml::table& table, std::size_t index, Report& report) {
  Reader reader(table, fmt::format("link[{}].", index), TitleOf("link", index, table), report);
  LinkConfig link;
  reader.Require("name", "\"socket0\"");
  reader.Text("name", link.name);
  reader.Require("bandwidth", "\"20GB/s\"");
  reader.Rate("bandwidth", link.bytes_per_s);
  reader.Require("devices", "[\"ssd0\", \"ssd1\"]");
  reader.Names("devices", link.devices);
  reader.Finish();
  return link;
}

GpuConfig ReadGpu(const toml::table& table, std::size_t index, Report& report) {
  Reader reader(table, fmt::format("gpu[{}].", index), TitleOf("gpu", index, table), report);
  GpuConfig gpu;
  reader.Require("name", "\"gpu0\"");
  reader.Text("name", gpu.name);
  auto kind = static_cast<std::size_t>(gpu.kind);
  reader.Require("kind", "\"cuda\" or \"null\"");
  reader.Choice("kind", kGpuKinds, kind);
  gpu.kind = static_cast<GpuKind>(kind);
  reader.Whole("ordinal", gpu.ordinal);
  reader.Rate("bandwidth", gpu.bytes_per_s);
  reader.Number("latency_us", gpu.latency_us);
  reader.Whole("numa_node", gpu.numa_node);
  reader.Finish();
  return gpu;
}

TenantConfig ReadTenant(const toml::table& table, std::size_t index, Report& report) {
  Reader reader(table, fmt::format("tenant[{}].", index), TitleOf("tenant", index, table), report);
  TenantConfig tenant;
  reader.Require("name", "\"team-a\"");
  reader.Text("name", tenant.name);
  reader.Accounts("users", tenant.users);
  reader.Accounts("groups", tenant.groups);
  reader.Size("quota", tenant.quota_bytes);
  reader.Whole("weight", tenant.weight);
  reader.Names("readers", tenant.readers);
  reader.Finish();
  return tenant;
}

Config ReadConfig(const toml::table& root, const std::filesystem::path& relative_to,
                  Report& report) {
  Config config;
  Reader reader(root, "", "file", report);
  if (const toml::table* pool = reader.Table("pool")) {
    Reader pool_reader(*pool, "pool.", "pool", report);
    ReadPool(pool_reader, relative_to, config);
  } else {
    reader.Require("pool", "{ version = 1 }");
  }
  // One above the limit is enough for Check to refuse the rest.
  const auto devices = reader.Tables("device");
  for (std::size_t i = 0; i < std::min(devices.size(), kMaxDevices + 1); ++i) {
    config.devices.push_back(ReadDevice(*devices[i], i, relative_to, report));
  }
  const auto links = reader.Tables("link");
  for (std::size_t i = 0; i < std::min(links.size(), kMaxDevices + 1); ++i) {
    config.links.push_back(ReadLink(*links[i], i, report));
  }
  const auto gpus = reader.Tables("gpu");
  for (std::size_t i = 0; i < std::min(gpus.size(), kMaxGpus + 1); ++i) {
    config.gpus.push_back(ReadGpu(*gpus[i], i, report));
  }
  const auto tenants = reader.Tables("tenant");
  for (std::size_t i = 0; i < std::min(tenants.size(), kMaxTenants + 1); ++i) {
    config.tenants.push_back(ReadTenant(*tenants[i], i, report));
  }
  reader.Finish();
  return config;
}

// What Check finds beyond what reading complained about already.
void AddChecks(const Config& config, Report& report) {
  for (Problem& problem : Check(config)) {
    if (report.bad.contains(problem.key)) continue;
    if (problem.key.empty() && report.bad.contains("device")) continue;
    problem.line = report.LineOf(problem.key);
    report.problems.push_back(std::move(problem));
  }
  std::sort(report.problems.begin(), report.problems.end(), [](const auto& a, const auto& b) {
    return std::tie(a.line, a.key, a.sentence) < std::tie(b.line, b.key, b.sentence);
  });
}

std::string At(const Problem& problem) {
  return problem.line == 0 ? problem.sentence
                           : fmt::format("line {}: {}", problem.line, problem.sentence);
}

tl::unexpected<Error> Refuse(const std::string& label, const std::vector<Problem>& problems) {
  if (problems.size() == 1) {
    return Fail(Status::kInvalid, fmt::format("{}: {}", label, At(problems.front())));
  }
  std::string message = fmt::format("{}: {} problems", label, problems.size());
  for (std::size_t i = 0; i < std::min(problems.size(), kMaxProblems); ++i) {
    message += fmt::format("\n  {}", At(problems[i]));
  }
  if (problems.size() > kMaxProblems) message += "\n  and more";
  return Fail(Status::kInvalid, std::move(message));
}

Result<Config> ReadToml(std::string_view toml, const std::filesystem::path& relative_to,
                        const std::string& label) {
  if (toml.size() > kMaxFileBytes) {
    return Refuse(label, {{"", "longer than 1 MiB: this is no pool file", 0}});
  }
  if (auto deep = FindTooDeep(toml)) return Refuse(label, {*deep});
  const toml::table root = toml::parse(toml);
  const auto version = root["pool"]["version"].value_exact<std::int64_t>();
  if (version && *version != Config::kVersion) {
    return Refuse(label, {{"",
                           fmt::format("written for version {} and this kvpool reads version "
                                       "{}: use the kvpool that wrote it, or write it anew "
                                       "with `kvpool probe`",
                                       *version, Config::kVersion),
                           0}});
  }
  Report report;
  Config config = ReadConfig(root, relative_to, report);
  AddChecks(config, report);
  if (!report.problems.empty()) return Refuse(label, report.problems);
  return config;
}

// Nothing thrown leaves this room.
Result<Config> ReadTomlNoThrow(std::string_view toml, const std::filesystem::path& relative_to,
                               const std::string& label) {
  try {
    return ReadToml(toml, relative_to, label);
  } catch (const toml::parse_error& error) {
    return Refuse(label, {{"", fmt::format("not TOML: {}", error.description()),
                           static_cast<int>(error.source().begin.line)}});
  } catch (const std::exception& error) {
    return Fail(Status::kInvalid,
                fmt::format("{}: cannot be read ({}): simplify it", label, error.what()));
  }
}

}  // namespace
}  // namespace kvpool::config

namespace kvpool {

Result<Config> Config::Parse(std::string_view toml, const std::filesystem::path& relative_to) {
  return config::ReadTomlNoThrow(toml, relative_to, "configuration");
}

Result<Config> Config::Load(const std::filesystem::path& path) {
  // Others may give nothing for ever, or be gone once read. A folder fails below.
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  if (std::filesystem::is_other(status)) {
    return Fail(Status::kInvalid,
                fmt::format("{}: it is not a regular file: name a pool file, or make one with "
                            "`kvpool probe`",
                            path.string()));
  }
  std::ifstream file(path, std::ios::binary);
  std::string text;
  std::array<char, 4096> piece{};
  while (file && text.size() <= config::kMaxFileBytes) {
    file.read(piece.data(), piece.size());
    text.append(piece.data(), static_cast<std::size_t>(file.gcount()));
  }
  if (!file.eof() && text.size() <= config::kMaxFileBytes) {
    const int code = errno;
    return Fail(Status::kIoError,
                fmt::format("{}: cannot be read ({}): name a pool file, or make one with `kvpool "
                            "probe`",
                            path.string(), std::strerror(code)),
                code);
  }
  return config::ReadTomlNoThrow(text, path.parent_path(), path.string());
}

}  // namespace kvpool
