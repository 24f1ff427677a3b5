#include <fmt/format.h>

#include "apps/kvpool/outputs.h"
#include "apps/kvpool/progress.h"
#include "apps/kvpool/replay_command.h"
#include "apps/kvpool/results.h"
#include "apps/kvpool/table.h"
#include "bench/replay_index.h"

namespace kvpool::cli {
namespace {

std::string Settings(const ReplayOptions& options) {
  std::string settings =
      fmt::format("replay --index-only {} --limit {}",
                  std::filesystem::path(options.trace).filename().string(), options.limit);
  for (const std::string& policy : options.policies) settings += " " + policy;
  for (const std::uint64_t blocks : options.capacity_blocks) settings += fmt::format(" {}", blocks);
  for (const std::string& admission : options.admissions) settings += " " + admission;
  return settings;
}

struct Case {
  std::uint64_t capacity;
  std::string policy;
  std::string admission;
};

std::vector<Case> CasesOf(const ReplayOptions& options) {
  std::vector<Case> cases;
  for (const std::uint64_t capacity : options.capacity_blocks) {
    for (const std::string& policy : options.policies) {
      for (const std::string& admission : options.admissions) {
        cases.push_back({capacity, policy, admission});
      }
    }
  }
  return cases;
}

Row RowOf(const Case& one, const bench::IndexReplay& replay, double seconds) {
  return {{"bench", "replay-index"},
          {"case", fmt::format("capacity={}", one.capacity)},
          {"method", one.policy},
          {"admission", one.admission},
          {"seconds", seconds},
          {"prefix_hit_ratio", replay.hit_ratio()},
          {"requests", replay.requests},
          {"blocks", replay.references},
          {"hit_blocks", replay.leading_hits},
          {"stored_blocks", replay.inserts},
          {"declined_blocks", replay.declined},
          {"evictions", replay.evictions},
          {"blocks_at_end", replay.blocks_at_end}};
}

}  // namespace

Result<void> ReplayOnIndex(const ReplayOptions& options) {
  for (const std::string& policy : options.policies) {
    if (auto known = index::MakeEvictionPolicy(policy); !known)
      return tl::unexpected(known.error());
  }
  auto writable = CheckOutputs({{"--json", options.json}}, {{"the trace", TracePath(options)}});
  if (!writable) return writable;
  auto trace = trace::ReadTrace(TracePath(options), {.skip_bad_lines = options.skip_bad_lines});
  if (!trace) return tl::unexpected(trace.error());
  TellSkipped(trace->lines_skipped, trace->first_skipped);
  if (trace->requests.empty()) return NoRequest(options);
  if (options.limit > 0 && options.limit < trace->requests.size()) {
    trace->requests.resize(options.limit);
  }
  std::vector<Row> rows{Header(Settings(options))};
  Table table(
      {"policy", "admission", "blocks", "hit ratio", "hits", "references", "stored", "evictions"});
  const std::vector<Case> cases = CasesOf(options);
  Progress progress;
  for (const Case& one : cases) {
    progress.Show(fmt::format("{}, {} blocks", one.policy, one.capacity),
                  static_cast<double>(rows.size() - 1) / static_cast<double>(cases.size()));
    const double before_s = progress.elapsed_s();
    const auto admission =
        one.admission == "second-sight" ? Admission::kSecondSight : Admission::kAll;
    const auto replay = bench::ReplayIndex(*trace, one.policy, one.capacity, admission);
    if (!replay) return tl::unexpected(replay.error());
    rows.push_back(RowOf(one, *replay, progress.elapsed_s() - before_s));
    table.Add({one.policy, one.admission, fmt::format("{}", one.capacity),
               fmt::format("{:.4f}", replay->hit_ratio()), fmt::format("{}", replay->leading_hits),
               fmt::format("{}", replay->references), fmt::format("{}", replay->inserts),
               fmt::format("{}", replay->evictions)});
  }
  progress.Clear();
  table.Print(PeopleStream(options.json));
  return WriteRows(options.json, rows);
}

}  // namespace kvpool::cli
