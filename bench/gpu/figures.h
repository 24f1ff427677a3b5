// Figures: what the loads come to, as a table, rows of JSON and a picture. Pure, but for printing.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bench/compare/bench.h"
#include "bench/gpu/loader.h"

namespace kvpool::bench {

// One context by one method; the medians of its repeats.
struct Outcome {
  std::string model;
  std::uint64_t tokens = 0;
  std::uint32_t layers = 1;
  std::string method;       // "recompute", "serial", "memory", "files", "pooled"
  std::uint64_t bytes = 0;  // 0: nothing is brought
  Load load;
  double devices_bytes_per_s = 0;  // of those that the method has
  double arithmetic_s = 0;         // what the machine allows; 0: not known

  double bytes_per_s() const {
    return load.whole_s > 0 ? static_cast<double>(bytes) / load.whole_s : 0;
  }
};

// What of the run the figures are taken against.
struct Yardsticks {
  std::string stager;           // "null", "cuda", with what there is to say of it
  double link_bytes_per_s = 0;  // large pinned copies, measured
  double flops_per_s = 0;       // of the engine
};

// A figure beside what it has to reach.
struct Target {
  std::string name;
  double reached = 0;
  double limit = 0;
  bool at_least = true;
  bool met() const { return at_least ? reached >= limit : reached <= limit; }
};
std::vector<Target> TargetsOf(std::span<const Outcome> outcomes, const Yardsticks& yardsticks);

void PrintOutcomes(std::span<const Outcome> outcomes, const Yardsticks& yardsticks, std::FILE* out);
std::vector<Row> RowsOf(std::span<const Outcome> outcomes, const Yardsticks& yardsticks);
// Bars of the time to first token, a group for each context. SVG.
std::string PictureOf(std::span<const Outcome> outcomes, const Yardsticks& yardsticks);

}  // namespace kvpool::bench
