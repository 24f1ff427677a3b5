#include "bench/trace/generator.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

namespace kvpool::trace {
namespace {

std::string Text(const GeneratorOptions& options) {
  std::ostringstream text;
  Generate(options, [&](const TraceRequest& request) {
    WriteTraceLine(request, text);
    return true;
  });
  return text.str();
}

GeneratorOptions Small() {
  GeneratorOptions options;
  options.sessions = 200;
  return options;
}

TEST(Generator, TheSameSeedGivesTheSameBytes) {
  GeneratorOptions other = Small();
  other.seed = 2;
  EXPECT_EQ(Text(Small()), Text(Small()));
  EXPECT_NE(Text(Small()), Text(other));
}

TEST(Generator, EqualIdsAreEqualPrefixes) {
  const Trace trace = Generate(Small());
  std::map<std::uint64_t, std::vector<std::uint64_t>> prefix_of;
  double before = 0;
  for (const TraceRequest& request : trace.requests) {
    EXPECT_GE(request.timestamp_ms, before);
    before = request.timestamp_ms;
    EXPECT_EQ(request.hash_ids.size(), (request.input_tokens + 511) / 512);
    std::vector<std::uint64_t> prefix;
    for (const std::uint64_t id : request.hash_ids) {
      const auto [known, is_new] = prefix_of.emplace(id, prefix);
      EXPECT_TRUE(is_new || known->second == prefix);
      prefix.push_back(id);
    }
  }
}

TEST(Generator, TurnsRepeatWhatWasSaidBefore) {
  GeneratorOptions options = Small();
  options.turns = 5;
  options.system_prompts = 0;
  options.document_share = 0;
  std::set<std::uint64_t> known;
  std::size_t repeated = 0;
  std::size_t references = 0;
  for (const TraceRequest& request : Generate(options).requests) {
    for (const std::uint64_t id : request.hash_ids) {
      repeated += known.insert(id).second ? 0u : 1u;
      ++references;
    }
  }
  EXPECT_GT(repeated, references / 4);
  options.turns = 1;
  known.clear();
  for (const TraceRequest& request : Generate(options).requests) {
    for (const std::uint64_t id : request.hash_ids) EXPECT_TRUE(known.insert(id).second);
  }
}

TEST(Generator, SharesSystemPromptsAndDocuments) {
  GeneratorOptions options = Small();
  options.turns = 1;
  options.system_prompts = 2;
  options.system_prompt_tokens = 4096;
  options.length_spread = 0;
  options.document_share = 1;
  options.documents = 3;
  std::set<std::uint64_t> first;
  std::set<std::uint64_t> ninth;  // the first block of the document
  for (const TraceRequest& request : Generate(options).requests) {
    first.insert(request.hash_ids.at(0));
    ninth.insert(request.hash_ids.at(8));
  }
  EXPECT_EQ(first.size(), 2u);
  EXPECT_EQ(ninth.size(), 6u) << "each document behind each prompt";
}

TEST(Generator, KeepsItsLimits) {
  GeneratorOptions options = Small();
  options.turns = 50;
  options.think_s = 1;
  options.duration_s = 100;
  options.max_input_tokens = 5000;
  const Trace trace = Generate(options);
  EXPECT_FALSE(trace.requests.empty());
  for (const TraceRequest& request : trace.requests) {
    EXPECT_LE(request.timestamp_ms, 100'000);
    EXPECT_LE(request.input_tokens, 5000u);
  }
}

TEST(Generator, ListsEveryProblem) {
  EXPECT_TRUE(Validate({}).empty());
  GeneratorOptions options;
  options.turns = 0;
  options.arrivals_per_s = -1;
  options.block_tokens = 0;
  EXPECT_EQ(Validate(options).size(), 3u);
}

}  // namespace
}  // namespace kvpool::trace
