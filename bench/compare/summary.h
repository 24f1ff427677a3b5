// Summary: from the samples of one case and method to one row.
#pragma once

#include <span>
#include <vector>

#include "bench/compare/bench.h"
#include "bench/compare/contender.h"

namespace kvpool::bench {

// The middle one; of an even number the mean of the two in the middle. Not empty.
double Median(std::vector<double> values);

// Medians of everything, and the slowest and fastest repeat. Names and notes stay empty. A column
// that any sample lacks is absent. samples: not empty, all of the same bytes.
Row Summarise(std::span<const Sample> samples, double devices_bytes_per_s);

}  // namespace kvpool::bench
