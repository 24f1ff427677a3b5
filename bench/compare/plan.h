// Plan: what a run will do and needs, settled before it starts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/compare/bench.h"
#include "bench/compare/contender.h"
#include "bench/compare/scratch.h"

namespace kvpool::bench {

struct Case {
  std::string name;  // "prefix=25%"
  std::uint64_t blocks = 0;
};

struct Plan {
  Setting setting;
  std::vector<Case> cases;  // as asked for
  std::optional<Scratch> scratch;
  std::vector<std::pair<std::string, std::string>> facts;
  std::vector<std::string> warnings;
};

// Measures what has no speed of its own, and refuses what this machine has no room for.
Result<Plan> MakePlan(const BenchOptions& options);

// The text behind config_hash.
std::string SettingsText(const BenchOptions& options);

}  // namespace kvpool::bench
