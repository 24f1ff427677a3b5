#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <type_traits>

#include "apps/kvpool/options.h"
#include "apps/kvpool/outputs.h"
#include "apps/kvpool/results.h"
#include "bench/trace/generator.h"

namespace kvpool::cli {
namespace {

constexpr const char* kExamples =
    R"(  kvpool trace --sessions 2000 --seed 7 --out chat.jsonl
      Conversations: every turn sends again what was said before. The same seed, the same trace.
  kvpool trace --document-share 1 --document-tokens 60000 --documents 50 --turns 5 --out docs.jsonl
      Questions about long documents that several sessions share.
  kvpool trace --sessions 100 | kvpool replay - --policy lru --capacity-blocks 1000 --index-only)";

struct TraceOptions {
  trace::GeneratorOptions generator;
  std::string out = "-";
};

Result<void> Write(const trace::GeneratorOptions& options, std::ostream& out,
                   const std::string& name) {
  trace::Generate(options, [&out](const trace::TraceRequest& request) {
    trace::WriteTraceLine(request, out);
    return bool{out};
  });
  out.flush();
  if (out) return {};
  return Fail(errno == ENOSPC ? Status::kNoSpace : Status::kInvalid,
              fmt::format("cannot write {} ({}): name a file in a folder that exists and has room",
                          name, std::strerror(errno)),
              errno);
}

Result<void> RunTrace(const TraceOptions& options) {
  const std::vector<std::string> problems = trace::Validate(options.generator);
  if (!problems.empty()) {
    return Fail(Status::kInvalid, fmt::format("{}", fmt::join(problems, "\nkvpool: ")));
  }
  if (auto writable = CheckOutputs({{"--out", options.out}}, {}); !writable) return writable;
  errno = 0;
  if (options.out == "-") return Write(options.generator, std::cout, "standard output");
  std::ofstream file(options.out, std::ios::binary);
  return Write(options.generator, file, options.out);
}

void AddGeneratorOptions(CLI::App& command, trace::GeneratorOptions& options) {
  const auto add = [&command](const char* name, auto& value, const char* what) {
    CLI::Option* option = command.add_option(name, value, what)->capture_default_str();
    using Value = std::remove_reference_t<decltype(value)>;
    if constexpr (std::is_unsigned_v<Value>) {
      option->check(WholeNumber(std::numeric_limits<Value>::max()));
    }
  };
  add("--seed", options.seed, "The same seed and options give the same trace");
  add("--sessions", options.sessions, "Conversations, at most");
  add("--arrivals", options.arrivals_per_s, "New sessions a second");
  add("--duration", options.duration_s, "Seconds; no request arrives later");
  add("--turns", options.turns, "Turns of a session, on average");
  add("--single-turn", options.single_turn, "Share of sessions that have one turn only, 0 to 1");
  add("--think", options.think_s, "Seconds between turns, median");
  add("--think-spread", options.think_spread, "Sigma of its logarithm");
  add("--system-prompts", options.system_prompts, "Different system prompts");
  add("--system-prompt-tokens", options.system_prompt_tokens, "Their length");
  add("--document-share", options.document_share, "Share of sessions with a document, 0 to 1");
  add("--document-tokens", options.document_tokens, "Its length, median");
  add("--documents", options.documents, "Different documents; 0: every session has its own");
  add("--message-tokens", options.message_tokens, "A user's message, median");
  add("--output-tokens", options.output_tokens, "An answer, median");
  add("--length-spread", options.length_spread, "Sigma of the logarithm of all lengths");
  add("--max-input-tokens", options.max_input_tokens, "A session ends where it gets longer");
  add("--block-tokens", options.block_tokens, "Tokens in a block");
}

}  // namespace

void AddTrace(CLI::App& app, Action& action) {
  auto options = std::make_shared<TraceOptions>();
  CLI::App& command = AddCommand(app, "trace", "Make a seeded trace of conversations for replay",
                                 kExamples, action, [options] { return RunTrace(*options); });
  AddGeneratorOptions(command, options->generator);
  command.add_option("--out", options->out, "Where to; \"-\" is standard output")
      ->type_name("FILE")
      ->capture_default_str();
}

}  // namespace kvpool::cli
