#include <fmt/format.h>

#include <memory>

#include "apps/kvpool/options.h"
#include "apps/kvpool/outputs.h"
#include "apps/kvpool/progress.h"
#include "apps/kvpool/results.h"
#include "apps/kvpool/table.h"
#include "base/units.h"
#include "kvpool/config.h"
#include "pool/inspect.h"

namespace kvpool::cli {
namespace {

constexpr const char* kExamples =
    R"(  kvpool check --pool pool.toml
      Reads every stored block and verifies its checksums. Exit code 1 when a block does not
      verify, as after a crash; such blocks are dropped, so that from then on they are recomputed instead of read.
  kvpool check --pool pool.toml --json check.json)";

struct CheckOptions {
  std::filesystem::path pool;
  std::string json;
};

std::vector<Row> CheckRows(const Config& config, const pool::CheckReport& report, double seconds) {
  std::vector<Row> rows{Header(config.ToToml())};
  rows.push_back({{"bench", "check"},
                  {"case", "pool"},
                  {"blocks", report.blocks},
                  {"blocks_bad", report.blocks_bad},
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
  fmt::print(out,
             "{} blocks, {} verified in {:.2f} s ({}), {} dropped, {} lost at the last close\n",
             report.blocks, FormatBytes(report.bytes), seconds, FormatRate(rate), report.blocks_bad,
             report.blocks_lost);
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

Result<void> RunCheck(const CheckOptions& options) {
  const Result<Config> config = LoadPoolFile(options.pool);
  if (!config) return tl::unexpected(config.error());
  auto writable = CheckOutputs({{"--json", options.json}}, FilesOf(options.pool, *config));
  if (!writable) return writable;
  Progress progress;
  const auto report =
      pool::CheckPool(*config, [&progress](std::uint64_t done, std::uint64_t total) {
        progress.Show("checking",
                      total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total));
      });
  const double seconds = progress.elapsed_s();
  progress.Clear();
  if (!report) return tl::unexpected(report.error());
  PrintCheck(*report, seconds, PeopleStream(options.json));
  auto written = WriteRows(options.json, CheckRows(*config, *report, seconds));
  const std::string drained = Drained(*report);
  if (written && !drained.empty() && report->blocks_bad == 0)
    return Fail(Status::kIoError, drained);
  if (!written || report->blocks_bad == 0) return written;
  return Fail(Status::kCorrupt,
              fmt::format("{} of {} blocks did not verify, with failures on {}, and were dropped; "
                          "after a crash that is expected once; if it comes again without one, "
                          "replace that device",
                          report->blocks_bad, report->blocks, Culprits(*report)));
}

}  // namespace

void AddCheck(CLI::App& app, Action& action) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App& command = AddCommand(app, "check", "Read everything back and verify it", kExamples,
                                 action, [options] { return RunCheck(*options); });
  AddPool(command, options->pool);
  AddJson(command, options->json);
}

}  // namespace kvpool::cli
