#include "apps/kvpool/run_bench.h"

#include <fmt/format.h>

#include "apps/kvpool/progress.h"
#include "apps/kvpool/table.h"

namespace kvpool::cli {

Result<bench::BenchResult> RunWithProgress(bench::BenchOptions& options, const RunBench& run) {
  Progress progress;
  options.progress = [&progress](const bench::Progress& now) {
    progress.Show(now.step, now.fraction);
  };
  auto result = run(options);
  options.progress = nullptr;
  progress.Clear();
  return result;
}

Result<void> Write(const bench::BenchResult& result, const BenchOutput& output) {
  std::FILE* out = PeopleStream(output.json);
  bench::PrintTable(result, out);
  std::fflush(out);
  if (!output.json.empty()) {
    const std::string file = output.json == "-" ? "/dev/stdout" : output.json;
    auto written = bench::WriteJson(file, result.header, result.rows);
    if (!written) return written;
  }
  if (!output.report.empty()) return bench::WriteReport(output.report, result);
  return {};
}

Result<void> RunAndWrite(bench::BenchOptions& options, const RunBench& run,
                         const BenchOutput& output) {
  const auto result = RunWithProgress(options, run);
  if (!result) return tl::unexpected(result.error());
  return Write(*result, output);
}

}  // namespace kvpool::cli
