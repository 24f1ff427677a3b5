// The time to first token of a long context that a GPU is given back: recomputed, by what caches do
// today (memory, then files, into host memory, then to the GPU), and by the pool from memory, from
// files and from both. docs/benchmarks.md says how to read it.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>

#include "base/limits.h"
#include "bench/compare/arithmetic.h"
#include "bench/compare/measure.h"
#include "bench/compare/scratch.h"
#include "bench/gpu/figures.h"
#include "mem/region.h"

namespace kvpool::bench {
namespace {

struct Options {
  std::string gpu = "null";
  std::uint32_t ordinal = 0;
  double link_mb_per_s = 1200;  // null: what it plays
  std::string devices = "memory:600,file:320,file:160,file:80";
  std::string dir = "/dev/shm";
  std::vector<std::uint64_t> tokens = {4096, 16384};
  std::vector<std::string> models;
  std::uint32_t repeat = 3;
  double flops_per_s = 9e12;
  bool verify = true;
  std::string json;
  std::string picture;
};

template <class T>
T Must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

constexpr std::uint64_t kNewTokens = 256;  // of the prompt, behind what is brought back

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options), scratch_(Must(Scratch::Make(options.dir))) {}

  void Run();
  std::span<const Outcome> outcomes() const { return outcomes_; }
  const Yardsticks& yardsticks() const { return yardsticks_; }

 private:
  void FindDevices();
  void RunModel(const Model& model);
  void RunMethod(const Model& model, const std::string& method, const LoaderParts& parts,
                 Content& content);
  Outcome Measure(const Model& model, std::uint64_t tokens, Loader& loader,
                  const LoaderParts& parts, Content& content);
  double LayerSeconds(const Model& model, std::uint64_t tokens) const;
  double Arithmetic(const Outcome& outcome, const Setting& setting, double layer_s) const;

  const Options options_;
  const Scratch scratch_;
  GpuConfig gpu_;
  std::vector<DeviceSpeed> devices_;
  Yardsticks yardsticks_;
  std::vector<Outcome> outcomes_;
};

// Speeds as they were given, or measured: memory's as the GPU's link sees it.
void Bench::FindDevices() {
  const auto wanted = Must(ParseDevices(options_.devices));
  const bool any_unknown = std::any_of(wanted.begin(), wanted.end(), [](const BenchDevice& one) {
    return one.kind == DeviceKind::kFile && one.bytes_per_s == 0;
  });
  Speed folder;
  if (any_unknown) folder = Must(MeasureFolder(scratch_.path(), kGiB, 1));
  const auto files = std::count_if(wanted.begin(), wanted.end(), [](const BenchDevice& one) {
    return one.kind == DeviceKind::kFile && one.bytes_per_s == 0;
  });
  for (const BenchDevice& one : wanted) {
    DeviceSpeed speed{.kind = one.kind, .numa_node = one.numa_node};
    const bool memory = one.kind == DeviceKind::kMemory;
    speed.emulated = one.bytes_per_s > 0;
    speed.read_bytes_per_s = speed.emulated ? one.bytes_per_s
                             : memory       ? yardsticks_.link_bytes_per_s
                                            : folder.read_bytes_per_s / static_cast<double>(files);
    speed.write_bytes_per_s = speed.emulated || memory
                                  ? speed.read_bytes_per_s
                                  : folder.write_bytes_per_s / static_cast<double>(files);
    speed.name = fmt::format("{} {}", memory ? "memory" : "file", devices_.size());
    devices_.push_back(speed);
  }
}

void Bench::Run() {
  gpu_.name = "bench";
  gpu_.kind = options_.gpu == "cuda" ? GpuKind::kCuda : GpuKind::kNull;
  gpu_.ordinal = options_.ordinal;
  if (gpu_.kind == GpuKind::kNull) gpu_.bytes_per_s = options_.link_mb_per_s * 1e6;
  yardsticks_.flops_per_s = options_.flops_per_s;
  {
    const std::uint64_t bytes = gpu_.kind == GpuKind::kNull ? 256 * kMiB : kGiB;
    const auto destination = Must(Destination::Open(gpu_, bytes));
    const auto host = Must(mem::Region::Make({.bytes = bytes, .shareable = false}));
    yardsticks_.link_bytes_per_s = Must(destination->Roofline(host->bytes()));
    yardsticks_.stager = fmt::format("{} stager ({})", destination->traits().kind,
                                     destination->traits().description);
  }
  gpu_.bytes_per_s = yardsticks_.link_bytes_per_s;
  if (gpu_.kind == GpuKind::kNull) gpu_.bytes_per_s = options_.link_mb_per_s * 1e6;
  FindDevices();
  for (const Model& model : Models()) {
    const auto& names = options_.models;
    if (!names.empty() && std::find(names.begin(), names.end(), model.geometry.name) == names.end())
      continue;
    RunModel(model);
  }
}

double Bench::LayerSeconds(const Model& model, std::uint64_t tokens) const {
  return FlopsFor(model, tokens - kNewTokens, kNewTokens) / options_.flops_per_s /
         model.geometry.layers;
}

void Bench::RunModel(const Model& model) {
  const std::uint64_t longest = *std::max_element(options_.tokens.begin(), options_.tokens.end());
  const Geometry& geometry = model.geometry;
  LoaderParts parts;
  parts.setting.folder = scratch_.path();
  parts.setting.block_bytes = geometry.block_bytes();
  parts.setting.blocks = longest / geometry.block_tokens;
  parts.setting.layers = geometry.layers;
  parts.setting.unit_bytes = 256 * kKiB;
  parts.setting.verify = options_.verify;
  parts.setting.accept_buffered = true;
  parts.gpu = gpu_;
  const auto host =
      Must(mem::Region::Make({.bytes = parts.setting.context_bytes(), .shareable = false}));
  parts.buffer = host->bytes().first(parts.setting.context_bytes());
  Content content(1, parts.buffer, parts.setting.block_bytes);
  const auto destination = Must(Destination::Open(gpu_, parts.setting.context_bytes()));
  parts.destination = destination.get();
  for (const std::uint64_t tokens : options_.tokens) {
    const double seconds = FlopsFor(model, 0, tokens) / options_.flops_per_s;
    outcomes_.push_back({.model = geometry.name,
                         .tokens = tokens,
                         .layers = geometry.layers,
                         .method = "recompute",
                         .load = {.ttft_s = seconds}});
  }
  for (const char* method : {"serial", "memory", "files", "pooled"}) {
    fmt::print(stderr, "{}, {}\n", geometry.name, method);
    RunMethod(model, method, parts, content);
  }
}

void Bench::RunMethod(const Model& model, const std::string& method, const LoaderParts& parts,
                      Content& content) {
  LoaderParts own = parts;
  for (const DeviceSpeed& device : devices_) {
    const bool memory = device.kind == DeviceKind::kMemory;
    if (method == (memory ? "files" : "memory")) continue;
    own.setting.devices.push_back(device);
  }
  if (own.setting.devices.empty()) return;
  const auto loader = Must(method == "serial" ? MakeSerialLoader(own) : MakePoolLoader(own));
  content.Fill();
  Must(loader->Store(content));
  for (const std::uint64_t tokens : options_.tokens) {
    Outcome outcome = Measure(model, tokens, *loader, own, content);
    outcome.method = method;
    const double layer_s = LayerSeconds(model, tokens);
    outcome.arithmetic_s = Arithmetic(outcome, own.setting, layer_s);
    outcomes_.push_back(outcome);
  }
}

Outcome Bench::Measure(const Model& model, std::uint64_t tokens, Loader& loader,
                       const LoaderParts& parts, Content& content) {
  const std::uint64_t blocks = tokens / model.geometry.block_tokens;
  const std::uint64_t bytes = blocks * parts.setting.block_bytes;
  std::vector<Load> loads;
  for (std::uint32_t repeat = 0; repeat < options_.repeat; ++repeat) {
    loads.push_back(Must(loader.Bring(blocks, LayerSeconds(model, tokens))));
    Poison(parts.buffer);
    Must(parts.destination->CopyOut(parts.buffer.first(bytes)));
    if (const auto wrong = content.FirstWrongBlock(blocks)) {
      throw std::runtime_error(fmt::format("block {} came to the GPU with other bytes", *wrong));
    }
    Poison(parts.buffer);
    Must(parts.destination->CopyIn(parts.buffer.first(bytes)));  // nothing of it is left there
  }
  std::sort(loads.begin(), loads.end(),
            [](const Load& a, const Load& b) { return a.whole_s < b.whole_s; });
  Outcome outcome{.model = model.geometry.name,
                  .tokens = tokens,
                  .layers = model.geometry.layers,
                  .bytes = bytes,
                  .load = loads[loads.size() / 2]};
  outcome.devices_bytes_per_s = SumBytesPerS(parts.setting);
  return outcome;
}

// The time to first token that ideal devices and an ideal link allow.
double Bench::Arithmetic(const Outcome& outcome, const Setting& setting, double layer_s) const {
  const auto bytes = static_cast<double>(outcome.bytes);
  const double compute_s = layer_s * outcome.layers;
  if (outcome.method == "serial") {
    const std::uint64_t blocks = outcome.bytes / setting.block_bytes;
    const double rate = ExpectedBytesPerS("serial-direct", setting, blocks).value_or(1);
    return bytes / rate + bytes / yardsticks_.link_bytes_per_s + compute_s;
  }
  const double load_s = bytes / std::min(outcome.devices_bytes_per_s, yardsticks_.link_bytes_per_s);
  return std::max(load_s + layer_s, compute_s + load_s / outcome.layers);
}

void Write(const Options& options, const Bench& bench) {
  auto outcomes = std::vector<Outcome>(bench.outcomes().begin(), bench.outcomes().end());
  std::stable_sort(outcomes.begin(), outcomes.end(), [](const Outcome& a, const Outcome& b) {
    return a.model == b.model && a.tokens < b.tokens;
  });
  PrintOutcomes(outcomes, bench.yardsticks(), stdout);
  if (!options.json.empty()) {
    const std::string settings = fmt::format("{} {} {} {} {}", options.gpu, options.link_mb_per_s,
                                             options.devices, options.flops_per_s, options.verify);
    Must(WriteJson(options.json, MakeHeader(settings), RowsOf(outcomes, bench.yardsticks())));
  }
  if (!options.picture.empty()) {
    std::ofstream(options.picture) << PictureOf(outcomes, bench.yardsticks());
  }
}

}  // namespace
}  // namespace kvpool::bench

int main(int argc, char** argv) {
  using kvpool::bench::Options;
  Options options;
  CLI::App app("The time to first token of a long context that a GPU is given back.");
  app.add_option("--stager", options.gpu, "cuda, or null: host memory that plays a GPU's")
      ->check(CLI::IsMember({"cuda", "null"}));
  app.add_option("--ordinal", options.ordinal, "which GPU, as CUDA counts");
  app.add_option("--link", options.link_mb_per_s, "MB/s that null plays")
      ->check(CLI::PositiveNumber);
  app.add_option("--devices", options.devices,
                 "as kvpool bench has it; without a speed: as fast as it is");
  app.add_option("--dir", options.dir, "where files lie");
  app.add_option("--tokens", options.tokens, "of the contexts, multiples of 256")
      ->delimiter(',')
      ->check(CLI::Range(512, 1 << 20));
  app.add_option("--models", options.models, "some of the three")->delimiter(',');
  app.add_option("--repeat", options.repeat, "the median counts")->check(CLI::Range(1, 100));
  app.add_option("--flops", options.flops_per_s, "that the engine computes a second")
      ->check(CLI::PositiveNumber);
  app.add_option("--verify", options.verify, "the pool's checksums");
  app.add_option("--json", options.json, "write the rows there");
  app.add_option("--picture", options.picture, "write an SVG there");
  CLI11_PARSE(app, argc, argv);
  try {
    kvpool::bench::Bench bench(options);
    bench.Run();
    kvpool::bench::Write(options, bench);
  } catch (const std::exception& problem) {
    fmt::print(stderr, "gpu_ttft: {}\n", problem.what());
    return 1;
  }
  return 0;
}
