#include "apps/kvpool/bench_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>

namespace kvpool::cli {

void AddRunOptions(CLI::App& command, bench::BenchOptions& options) {
  AddBytes(command, "--context", options.context_bytes, "How long the stored context is");
  AddParsed(command, "--prefix", options.prefix_percent, bench::ParsePercents,
            "Which leading parts of it to bring back, in percent")
      ->type_name("LIST")
      ->default_str(fmt::format("{:g}", fmt::join(options.prefix_percent, ",")));
  command.add_option("--repeat", options.repeat, "Medians are taken over so many runs")
      ->check(WholeNumber(std::numeric_limits<std::uint32_t>::max()))
      ->capture_default_str();
  command
      .add_option_function<std::string>(
          "--verify", [&options](const std::string& text) { options.verify = text == "on"; },
          "The pool's checksums: on or off (delivered bytes are compared all the same)")
      ->check(CLI::IsMember({"on", "off"}))
      ->default_str("on");
  command.add_flag("--lease", options.lease,
                   "Every method hands out what lies in memory in place, without a copy");
  command
      .add_option("--block-tokens", options.geometry.block_tokens,
                  "Tokens in a block, of 128 KiB each as in LLaMA-3.1-8B")
      ->check(WholeNumber(std::numeric_limits<std::uint32_t>::max()))
      ->capture_default_str();
  AddBytes(command, "--unit", options.unit_bytes, "The pool's stripe unit");
  command.add_option("--seed", options.seed, "Of the stored bytes")
      ->check(WholeNumber())
      ->capture_default_str();
}

void AddReport(CLI::App& command, std::string& file) {
  command.add_option("--report", file, "Write a self-contained page with pictures")
      ->type_name("FILE.html");
}

}  // namespace kvpool::cli
