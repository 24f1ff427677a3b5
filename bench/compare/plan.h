// Plan: what a run will do and needs, settled before it starts.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
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

// Makes the contender of a method; `buffer` holds the context and outlives it.
using MakeContender = std::function<Result<std::unique_ptr<Contender>>(
    std::string_view method, const Setting& setting, std::span<std::byte> buffer)>;

struct Plan {
  Setting setting;
  MakeContender make;
  std::vector<Case> cases;  // as asked for
  std::optional<Scratch> scratch;
  std::vector<std::pair<std::string, std::string>> facts;
  std::vector<std::string> warnings;
};

// Measures what has no speed of its own, and refuses what this machine has no room for.
Result<Plan> MakePlan(const BenchOptions& options);

// The parts of it that another bench, which has its own devices, needs too.
Setting MakeSetting(const BenchOptions& options);
std::vector<Case> MakeCases(const BenchOptions& options, std::uint64_t blocks);
void ApplyMemorySpeed(Plan& plan);
void AddFacts(const BenchOptions& options, Plan& plan);
Result<void> CheckMemory(std::uint64_t needed);

// Every method of options.methods in turn. As RunBench, whose plan is made by MakePlan.
Result<BenchResult> RunPlan(const BenchOptions& options, Plan plan);

// The text behind config_hash.
std::string SettingsText(const BenchOptions& options);

}  // namespace kvpool::bench
