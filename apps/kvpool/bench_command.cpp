#include "bench/compare/bench.h"

#include <fmt/format.h>

#include <limits>
#include <memory>

#include "apps/kvpool/interrupt.h"
#include "apps/kvpool/options.h"
#include "apps/kvpool/outputs.h"
#include "apps/kvpool/progress.h"
#include "apps/kvpool/run_bench.h"

namespace kvpool::cli {
namespace {

constexpr const char* kExamples =
    R"(  kvpool bench --devices memory:3000,file:800,file:400,file:200 --dir /mnt/scratch
      Stores a 2 GiB context and brings it back by the pool, by equal striping, and serially as
      caches do today. Speeds are emulated, in MB/s (10^6); without one a device is as fast as it is.
  kvpool bench --devices memory:3000,file:800,file:400,file:200 --dir /mnt/scratch --context 2GiB \
               --prefix 5,25,50,100 --methods pool,equal,serial,serial-direct --repeat 3 --json -
  kvpool bench --devices memory:3000,file:800,file:400,file:200 --dir /mnt/scratch \
               --memory-limit 25% --verify off --report out/report.html
      No method may keep more than a quarter in memory; checksums are off.)";

struct BenchCommand {
  bench::BenchOptions bench;
  BenchOutput output;
};

// An option whose text `parse` turns into `value`, with parse's own sentence where it cannot.
template <class Value, class Parse>
CLI::Option* AddParsed(CLI::App& command, const std::string& name, Value& value, Parse parse,
                       const std::string& what) {
  return command.add_option_function<std::string>(
      name,
      [&value, parse, name](const std::string& text) {
        auto parsed = parse(text);
        if (!parsed) throw CLI::ValidationError(name, parsed.error().message);
        value = *parsed;
      },
      what);
}

void AddBenchOptions(CLI::App& command, bench::BenchOptions& options) {
  AddParsed(command, "--devices", options.devices, bench::ParseDevices,
            "Memory and files, each with an emulated speed in MB/s: memory:3000,memory@1:3000,file")
      ->type_name("LIST")
      ->required();
  command.add_option("--dir", options.dir, "A folder for the files; they are removed afterwards")
      ->type_name("DIR")
      ->required();
  AddBytes(command, "--context", options.context_bytes, "How long the stored context is");
  AddParsed(command, "--prefix", options.prefix_percent, bench::ParsePercents,
            "Which leading parts of it to bring back, in percent")
      ->type_name("LIST")
      ->default_str("5,25,50,100");
  AddParsed(command, "--methods", options.methods, bench::ParseMethods,
            fmt::format("What to compare: {}", fmt::join(bench::KnownMethods(), ", ")))
      ->type_name("LIST")
      ->default_str("pool,equal,serial,serial-direct");
  command.add_option("--repeat", options.repeat, "Medians are taken over so many runs")
      ->check(WholeNumber(std::numeric_limits<std::uint32_t>::max()))
      ->capture_default_str();
  AddParsed(command, "--memory-limit", options.memory_limit, bench::ParseFraction,
            "The share of the context that each method may keep in memory")
      ->type_name("PERCENT");
  command
      .add_option_function<std::string>(
          "--verify", [&options](const std::string& text) { options.verify = text == "on"; },
          "The pool's checksums: on or off (delivered bytes are compared all the same)")
      ->check(CLI::IsMember({"on", "off"}))
      ->default_str("on");
  command
      .add_option("--block-tokens", options.geometry.block_tokens,
                  "Tokens in a block, of 128 KiB each as in LLaMA-3.1-8B")
      ->check(WholeNumber(std::numeric_limits<std::uint32_t>::max()))
      ->capture_default_str();
  AddBytes(command, "--unit", options.unit_bytes, "The pool's stripe unit");
  command.add_option("--seed", options.seed, "Of the stored bytes")
      ->check(WholeNumber())
      ->capture_default_str();
  command.add_flag("--accept-buffered", options.accept_buffered,
                   "Go through the page cache where the filesystem refuses O_DIRECT");
}

Result<void> RunBenchCommand(BenchCommand& command) {
  const std::vector<std::string> problems = bench::Validate(command.bench);
  if (!problems.empty()) {
    return Fail(Status::kInvalid, fmt::format("{}", fmt::join(problems, "\nkvpool: ")));
  }
  auto writable =
      CheckOutputs({{"--json", command.output.json}, {"--report", command.output.report}}, {});
  if (!writable) return writable;
  auto folder = TemporaryPath::MakeFolder(command.bench.dir);
  if (!folder) return tl::unexpected(folder.error());
  command.bench.dir = folder->path();
  return RunAndWrite(command.bench, command.output);
}

}  // namespace

void AddBench(CLI::App& app, Action& action) {
  auto options = std::make_shared<BenchCommand>();
  CLI::App& command =
      AddCommand(app, "bench", "Compare the pool with equal striping and with serial retrieval",
                 kExamples, action, [options] { return RunBenchCommand(*options); });
  AddBenchOptions(command, options->bench);
  AddJson(command, options->output.json);
  command
      .add_option("--report", options->output.report, "Write a self-contained page with pictures")
      ->type_name("FILE.html");
}

}  // namespace kvpool::cli
