#include "apps/kvpool/replay_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>

#include "apps/kvpool/options.h"
#include "apps/kvpool/outputs.h"
#include "index/eviction_policy.h"

namespace kvpool::cli {
namespace {

constexpr const char* kExamples =
    R"(  kvpool replay conversation_trace.jsonl --index-only --policy lru --capacity-blocks 10000
      Which blocks would be hits; nothing is stored. Lists are fine:
      --policy lru,default --capacity-blocks 1000,10000,100000
  kvpool replay conversation_trace.jsonl --pool pool.toml --bytes-per-block 64KiB --json -
      Through a real pool, at full speed: matches each request's prefix, gets the hits, compares
      every byte, puts the misses.
  kvpool replay conversation_trace.jsonl --pool pool.toml --speed 10 --limit 1000
      By the trace's clock, ten times as fast.

A trace has one JSON object a line: timestamp (ms), input_length, output_length, hash_ids.)";

Result<void> RunReplay(const ReplayOptions& options) {
  if (options.index_only == !options.pool.empty()) {
    return Fail(Status::kInvalid, "say where to replay: either --index-only or --pool POOL.toml");
  }
  if (!options.json.empty()) {
    if (auto utf8 = CheckUtf8(options.trace); !utf8) return utf8;
  }
  if (!options.index_only) return ReplayOnPool(options);
  if (options.capacity_blocks.empty()) {
    return Fail(Status::kInvalid,
                "--index-only needs the size of the cache: add --capacity-blocks, such as 10000");
  }
  return ReplayOnIndex(options);
}

}  // namespace

std::filesystem::path TracePath(const ReplayOptions& options) {
  return options.trace == "-" ? "/dev/stdin" : options.trace;
}

tl::unexpected<Error> NoRequest(const ReplayOptions& options) {
  return Fail(Status::kInvalid, fmt::format("the trace {} holds no request: name a file with one "
                                            "JSON object a line",
                                            options.trace));
}

void TellSkipped(std::uint64_t lines, const std::string& first) {
  if (lines > 0)
    fmt::print(stderr, "note: {} bad lines were left out; the first: {}\n", lines, first);
}

void AddReplay(CLI::App& app, Action& action) {
  auto options = std::make_shared<ReplayOptions>();
  CLI::App& command = AddCommand(app, "replay", "Replay a trace of requests", kExamples, action,
                                 [options] { return RunReplay(*options); });
  command.add_option("trace", options->trace, "The trace; \"-\" is standard input")
      ->type_name("TRACE")
      ->required();
  command.add_flag("--index-only", options->index_only, "Count hits only; no pool, no bytes");
  command
      .add_option("--policy", options->policies,
                  fmt::format("With --index-only, eviction by: {}",
                              fmt::join(index::EvictionPolicyNames(), ", ")))
      ->delimiter(',')
      ->type_name("LIST")
      ->capture_default_str();
  command
      .add_option("--capacity-blocks", options->capacity_blocks,
                  "With --index-only, the size of the cache in blocks")
      ->check(WholeNumber())
      ->delimiter(',')
      ->type_name("LIST");
  command
      .add_option("--admission", options->admissions,
                  "With --index-only, which blocks are stored: all, second-sight")
      ->check(CLI::IsMember({"all", "second-sight"}))
      ->delimiter(',')
      ->type_name("LIST")
      ->capture_default_str();
  command.add_option("--pool", options->pool, "The pool to replay through")->type_name("POOL.toml");
  AddBytes(command, "--bytes-per-block", options->bytes_per_block,
           "With --pool, the size of a block; hit ratios do not depend on it");
  command.add_option("--speed", options->speed, "Times the trace's clock; 0: as fast as it goes")
      ->check(CLI::Range(0.0, 1e9))
      ->capture_default_str();
  command.add_option("--limit", options->limit, "Replay so many requests; 0: all")
      ->check(WholeNumber())
      ->capture_default_str();
  command.add_flag("--skip-bad-lines", options->skip_bad_lines,
                   "Leave malformed lines out instead of stopping at the first");
  AddJson(command, options->json);
}

}  // namespace kvpool::cli
