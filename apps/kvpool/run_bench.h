// Runs a comparison with progress and writes down what came out.
#pragma once

#include <functional>
#include <string>

#include "bench/compare/bench.h"
#include "kvpool/result.h"

namespace kvpool::cli {

struct BenchOutput {
  std::string json;    // a file, "-" or empty
  std::string report;  // a file or empty
};

using RunBench = std::function<Result<bench::BenchResult>(const bench::BenchOptions&)>;

// Runs it with options.progress filled in.
Result<bench::BenchResult> RunWithProgress(bench::BenchOptions& options, const RunBench& run);
// Prints the table, and writes what was asked for.
Result<void> Write(const bench::BenchResult& result, const BenchOutput& output);
// Both.
Result<void> RunAndWrite(bench::BenchOptions& options, const RunBench& run,
                         const BenchOutput& output);

}  // namespace kvpool::cli
