// Generator: seeded multi-turn traces, so that nothing depends on a trace that is not at hand.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/trace/trace.h"

namespace kvpool::trace {

// A session is a conversation: a system prompt it shares with others, perhaps a document, then
// turns. Turn k sends all that was said before it again, plus a message. Times between turns and
// lengths are drawn from log-normal distributions around the given medians, numbers of turns from
// a geometric one.
struct GeneratorOptions {
  std::uint64_t seed = 1;
  std::uint64_t sessions = 1000;     // at most; the duration may end the trace before
  double arrivals_per_s = 1;         // of sessions, as a Poisson process
  double duration_s = 3600;          // no request arrives later
  double turns = 3;                  // mean, at least 1
  double single_turn = 0;            // share of sessions that have one turn whatever `turns` says
  double think_s = 60;               // median between a turn's arrival and the next one's
  double think_spread = 1;           // sigma of its logarithm
  std::uint32_t system_prompts = 8;  // number; popularity falls as 1/rank
  std::uint64_t system_prompt_tokens = 1024;
  double document_share = 0.3;  // of sessions that begin with a document
  std::uint64_t document_tokens = 8192;
  std::uint32_t documents = 0;  // distinct ones that sessions draw from; 0: every session its own
  std::uint64_t message_tokens = 300;
  std::uint64_t output_tokens = 300;
  double length_spread = 1;                  // sigma of the logarithms of all lengths
  std::uint64_t max_input_tokens = 131'072;  // a session that reaches it ends
  std::uint32_t block_tokens = 512;
};

// Every problem, one sentence each; empty when valid.
std::vector<std::string> Validate(const GeneratorOptions& options);

// The same options give the same requests, in order of arrival, as long as `take`
// returns true. `options` are valid.
void Generate(const GeneratorOptions& options,
              const std::function<bool(const TraceRequest&)>& take);
Trace Generate(const GeneratorOptions& options);

}  // namespace kvpool::trace
