// Model: what of a language model decides when its first token is out. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "bench/compare/bench.h"

namespace kvpool::bench {

struct Model {
  Geometry geometry;              // of its KV
  double active_parameters = 0;   // that a token passes: of a mixture, what is chosen
  std::uint32_t query_width = 0;  // heads times their width
  std::uint32_t full_layers = 0;  // that attend to the whole context; the others to `window` tokens
  std::uint32_t window = 0;
};

// LLaMA-3.1-8B, Qwen3-30B-A3B and GPT-OSS-20B.
std::span<const Model> Models();

// Floating-point operations for `tokens` more behind a context of `before`: two for each parameter
// and token; four for each query's element and each token that it attends to, itself included.
double FlopsFor(const Model& model, std::uint64_t before, std::uint64_t tokens);

}  // namespace kvpool::bench
