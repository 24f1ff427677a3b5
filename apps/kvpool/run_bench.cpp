#include "apps/kvpool/run_bench.h"

#include <fmt/format.h>

#include "apps/kvpool/progress.h"
#include "apps/kvpool/table.h"

namespace kvpool::cli {

Result<void> RunAndWrite(bench::BenchOptions& options, const BenchOutput& output) {
  Progress progress;
  options.progress = [&progress](const bench::Progress& now) {
    progress.Show(now.step, now.fraction);
  };
  const Result<bench::BenchResult> result = bench::RunBench(options);
  options.progress = nullptr;
  progress.Clear();
  if (!result) return tl::unexpected(result.error());
  std::FILE* out = PeopleStream(output.json);
  bench::PrintTable(*result, out);
  std::fflush(out);
  if (!output.json.empty()) {
    const std::string file = output.json == "-" ? "/dev/stdout" : output.json;
    auto written = bench::WriteJson(file, result->header, result->rows);
    if (!written) return written;
  }
  if (!output.report.empty()) return bench::WriteReport(output.report, *result);
  return {};
}

}  // namespace kvpool::cli
