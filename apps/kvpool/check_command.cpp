#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "apps/kvpool/options.h"
#include "apps/kvpool/outputs.h"
#include "apps/kvpool/progress.h"
#include "apps/kvpool/results.h"
#include "apps/kvpool/table.h"
#include "base/units.h"
#include "kvpool/config.h"
#include "pool/inspect.h"
#include "pool/repair.h"

namespace kvpool::cli {
namespace {

constexpr const char* kExamples =
    R"(  kvpool check --pool pool.toml
      Reads every stored block and verifies its checksums, and changes nothing. Exit code 1 when
      a block does not verify, as after a crash; a pool drops it when it is next asked for it.
  kvpool check --pool pool.toml --repair
      Makes a new catalog of what is left of one that is damaged, missing or of another version,
      and drops the blocks that do not verify; says first what that is, and asks.
  kvpool check --pool pool.toml --json check.json)";

struct CheckOptions {
  std::filesystem::path pool;
  std::string json;
  bool repair = false;
  bool yes = false;
};

std::vector<Row> CheckRows(const Config& config, const pool::CheckReport& report, double seconds) {
  std::vector<Row> rows{Header(config.ToToml())};
  rows.push_back({{"bench", "check"},
                  {"case", "pool"},
                  {"blocks", report.blocks},
                  {"blocks_bad", report.blocks_bad},
                  {"blocks_dropped", report.dropped ? report.blocks_bad : 0},
                  {"blocks_lost", report.blocks_lost},
                  {"bytes", report.bytes},
                  {"seconds", seconds}});
  for (const DeviceInfo& device : report.devices) {
    rows.push_back({{"bench", "check"},
                    {"case", "device"},
                    {"name", device.name},
                    {"bytes_read", device.bytes_read},
                    {"io_errors", device.io_errors},
                    {"checksum_failures", device.checksum_failures},
                    {"state", std::string(ToString(device.state))},
                    {"state_reason", device.state_reason}});
  }
  return rows;
}

void PrintCheck(const pool::CheckReport& report, double seconds, std::FILE* out) {
  const double rate = seconds > 0 ? static_cast<double>(report.bytes) / seconds : 0;
  fmt::print(out, "{} blocks, {} verified in {:.2f} s ({}), {} bad{}, {} lost at the last close\n",
             report.blocks, FormatBytes(report.bytes), seconds, FormatRate(rate), report.blocks_bad,
             report.dropped ? " and dropped" : "", report.blocks_lost);
  Table table({"device", "state", "read", "I/O errors", "checksum failures"});
  for (const DeviceInfo& device : report.devices) {
    table.Add({device.name, std::string(ToString(device.state)), FormatBytes(device.bytes_read),
               fmt::format("{}", device.io_errors), fmt::format("{}", device.checksum_failures)});
  }
  table.Print(out);
}

// "ssd0: it does not answer; ssd1: ..."
std::string Drained(const pool::CheckReport& report) {
  std::string reasons;
  for (const DeviceInfo& device : report.devices) {
    if (device.state == DeviceState::kServing) continue;
    reasons += fmt::format("{}device {} is {}: {}", reasons.empty() ? "" : "; ", device.name,
                           ToString(device.state), device.state_reason);
  }
  return reasons;
}

// "ssd0 (2 units), ssd2 (1 unit)"
std::string Culprits(const pool::CheckReport& report) {
  std::string names;
  for (const DeviceInfo& device : report.devices) {
    const std::uint64_t failures = device.io_errors + device.checksum_failures;
    if (failures == 0) continue;
    names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", device.name, failures);
  }
  return names.empty() ? "no device in particular" : names;
}

// Yes by --yes, or by whoever sits there.
bool Agreed(const CheckOptions& options) {
  if (options.yes) return true;
  if (isatty(STDIN_FILENO) == 0) return false;
  fmt::print(stderr, "Do it? [y/N] ");
  std::fflush(stderr);
  const int answer = std::getchar();
  return answer == 'y' || answer == 'Y';
}

constexpr const char* kNotAgreed = "nothing was changed: add --yes to do it";

Result<void> RepairCatalog(const Config& config, const CheckOptions& options) {
  const auto plan = pool::PlanRepair(config);
  if (!plan) return tl::unexpected(plan.error());
  if (!plan->needed) return {};
  std::FILE* out = PeopleStream(options.json);
  fmt::print(out, "{}\n", plan->sentence);
  std::fflush(out);
  if (!Agreed(options)) return Fail(Status::kCorrupt, kNotAgreed);
  auto repaired = pool::Repair(config, *plan);
  if (repaired) fmt::print(out, "{}: made anew\n", config.catalog.string());
  return repaired;
}

Result<void> Verdict(const pool::CheckReport& report, const CheckOptions& options) {
  if (report.blocks_bad == 0 || report.dropped) return {};
  if (options.repair) return Fail(Status::kCorrupt, kNotAgreed);
  return Fail(Status::kCorrupt,
              fmt::format("{} of {} blocks do not verify, with failures on {}; after a crash that "
                          "is expected once: `kvpool check --repair` drops them; if it comes "
                          "again without one, replace that device",
                          report.blocks_bad, report.blocks, Culprits(report)));
}

Result<void> RunCheck(const CheckOptions& options) {
  const Result<Config> config = LoadPoolFile(options.pool);
  if (!config) return tl::unexpected(config.error());
  auto writable = CheckOutputs({{"--json", options.json}}, FilesOf(options.pool, *config));
  if (!writable) return writable;
  if (auto alone = CheckNoDaemon(*config); !alone) return alone;
  if (options.repair) {
    if (auto repaired = RepairCatalog(*config, options); !repaired) return repaired;
  }
  Progress progress;
  pool::CheckWishes wishes;
  wishes.progress = [&progress](std::uint64_t done, std::uint64_t total) {
    progress.Show("checking",
                  total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total));
  };
  if (options.repair) {
    wishes.may_drop = [&](const pool::CheckReport& report) {
      progress.Clear();
      fmt::print(PeopleStream(options.json),
                 "{} of {} blocks do not verify, with failures on {}: a repair drops them\n",
                 report.blocks_bad, report.blocks, Culprits(report));
      return Agreed(options);
    };
  }
  const auto report = pool::CheckPool(*config, wishes);
  const double seconds = progress.elapsed_s();
  progress.Clear();
  if (!report) return tl::unexpected(report.error());
  PrintCheck(*report, seconds, PeopleStream(options.json));
  auto written = WriteRows(options.json, CheckRows(*config, *report, seconds));
  const std::string drained = Drained(*report);
  if (written && !drained.empty() && report->blocks_bad == 0)
    return Fail(Status::kIoError, drained);
  return written ? Verdict(*report, options) : written;
}

}  // namespace

void AddCheck(CLI::App& app, Action& action) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App& command = AddCommand(app, "check", "Read everything back and verify it", kExamples,
                                 action, [options] { return RunCheck(*options); });
  AddPool(command, options->pool);
  command.add_flag("--repair", options->repair, "Make a damaged catalog anew, drop bad blocks");
  command.add_flag("--yes", options->yes, "Do it without asking")->needs("--repair");
  AddJson(command, options->json);
}

}  // namespace kvpool::cli
