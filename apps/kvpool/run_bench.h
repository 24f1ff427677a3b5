// Runs a comparison with progress and writes down what came out.
#pragma once

#include <string>

#include "bench/compare/bench.h"
#include "kvpool/result.h"

namespace kvpool::cli {

struct BenchOutput {
  std::string json;    // a file, "-" or empty
  std::string report;  // a file or empty
};

// Prints the table; fills options.progress.
Result<void> RunAndWrite(bench::BenchOptions& options, const BenchOutput& output);

}  // namespace kvpool::cli
