#include "bench/replay_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bench/trace/generator.h"

namespace kvpool::bench {
namespace {

struct Row {
  std::uint64_t blocks;
  double lru;  // the oracle, to four digits
};
constexpr Row kConversation[] = {{1'000, 0.0445},  {2'000, 0.0537},  {5'000, 0.1104},
                                 {10'000, 0.2112}, {20'000, 0.2875}, {50'000, 0.3546},
                                 {100'000, 0.3637}};

std::optional<trace::Trace> ConversationTrace() {
  const std::filesystem::path path =
      std::filesystem::path(KVPOOL_TRACES) / "conversation_trace.jsonl";
  if (!std::filesystem::exists(path)) return std::nullopt;
  auto trace = trace::ReadTrace(path);
  EXPECT_TRUE(trace.has_value()) << trace.error().message;
  return std::move(*trace);
}

double HitRatio(const trace::Trace& trace, std::string_view policy, std::uint64_t blocks) {
  const auto replay = ReplayIndex(trace, policy, blocks);
  EXPECT_TRUE(replay.has_value());
  return replay->hit_ratio();
}

// Evicts the newest: what no pool should use.
class MruPolicy final : public index::EvictionPolicy {
 public:
  void Insert(index::EntryId entry, const index::BlockTraits&) override { order_.push_back(entry); }
  void Reference(index::EntryId entry) override {
    Erase(entry, index::Leaving::kDropped);
    order_.push_back(entry);
  }
  void Erase(index::EntryId entry, index::Leaving) override {
    order_.erase(std::find(order_.rbegin(), order_.rend(), entry).base() - 1);
  }
  index::EntryId Victim() override { return order_.empty() ? index::kNoEntry : order_.back(); }
  void Park(index::EntryId) override {}
  void Unpark(index::EntryId) override {}

 private:
  std::vector<index::EntryId> order_;
};

// The policies that beat `ratio` on the trace by more than `slack`.
std::string Winners(const trace::Trace& trace, std::uint64_t blocks, double ratio, double slack) {
  std::string winners;
  for (const std::string_view rival : {"lru", "s3fifo", "wtinylfu", "arc"}) {
    const double its = HitRatio(trace, rival, blocks);
    if (its > ratio + slack) winners += std::string(rival) + " " + std::to_string(its) + " ";
  }
  return winners;
}

TEST(ReplayIndex, LruEqualsTheOracle) {
  const auto trace = ConversationTrace();
  if (!trace) GTEST_SKIP() << "no conversation_trace.jsonl in " << KVPOOL_TRACES;
  for (const auto& [blocks, lru] : kConversation) {
    EXPECT_NEAR(HitRatio(*trace, "lru", blocks), lru, 0.00005) << blocks << " blocks";
  }
}

TEST(ReplayIndex, TheDefaultLosesToNoneOnTheConversationTrace) {
  const auto trace = ConversationTrace();
  if (!trace) GTEST_SKIP() << "no conversation_trace.jsonl in " << KVPOOL_TRACES;
  for (const Row& row : kConversation) {
    const double ratio = HitRatio(*trace, "default", row.blocks);
    EXPECT_EQ(Winners(*trace, row.blocks, ratio, 0), "")
        << "default " << ratio << " at " << row.blocks << " blocks";
  }
}

struct Workload {
  const char* name;
  trace::GeneratorOptions options;
  double slack;  // what the default may lose where hardly anything is at stake
};

std::vector<Workload> Workloads() {
  trace::GeneratorOptions chat;
  chat.duration_s = 1800;
  chat.arrivals_per_s = 1.5;
  chat.sessions = 3000;
  chat.turns = 2.5;
  chat.think_s = 120;
  trace::GeneratorOptions agents;
  agents.duration_s = 900;
  agents.arrivals_per_s = 0.25;
  agents.turns = 15;
  agents.think_s = 8;
  agents.message_tokens = 700;
  trace::GeneratorOptions documents;
  documents.duration_s = 1800;
  documents.arrivals_per_s = 1.5;
  documents.sessions = 3000;
  documents.turns = 1.5;
  documents.document_share = 0.9;
  documents.documents = 400;
  documents.document_tokens = 12'000;
  trace::GeneratorOptions single;
  single.duration_s = 1800;
  single.arrivals_per_s = 2;
  single.sessions = 4000;
  single.turns = 5;
  single.single_turn = 0.7;
  single.think_s = 40;
  single.document_share = 0.5;
  return {{"chat", chat, 0.001},
          {"agents", agents, 0.001},
          {"documents", documents, 0.001},
          {"single turns", single, 0.001}};
}

TEST(ReplayIndex, TheDefaultLosesToNoneOnGeneratedTraces) {
  for (const Workload& workload : Workloads()) {
    const trace::Trace trace = trace::Generate(workload.options);
    for (const std::uint64_t blocks : {1'000u, 3'000u, 10'000u}) {
      const double ratio = HitRatio(trace, "default", blocks);
      EXPECT_EQ(Winners(trace, blocks, ratio, workload.slack), "")
          << workload.name << ": default " << ratio << " at " << blocks << " blocks";
    }
  }
}

TEST(ReplayIndex, TheComparisonFindsABadPolicy) {
  trace::GeneratorOptions options;
  options.sessions = 500;
  const trace::Trace trace = trace::Generate(options);
  const double ratio = ReplayIndex(trace, std::make_unique<MruPolicy>(), 500).hit_ratio();
  EXPECT_NE(Winners(trace, 500, ratio, 0.001).find("lru"), std::string::npos);
}

TEST(ReplayIndex, CountsWhatItDoes) {
  trace::Trace trace;
  trace.requests.push_back({.hash_ids = {1, 2, 3}});
  trace.requests.push_back({.hash_ids = {1, 2, 4}});
  trace.requests.push_back({.hash_ids = {5, 2}});  // 2 is present, but behind an absent block
  const IndexReplay replay = *ReplayIndex(trace, "lru", 3);
  EXPECT_EQ(replay.requests, 3u);
  EXPECT_EQ(replay.references, 8u);
  EXPECT_EQ(replay.leading_hits, 2u);
  EXPECT_EQ(replay.inserts, 5u);
  EXPECT_EQ(replay.evictions, 2u);
  EXPECT_EQ(replay.blocks_at_end, 3u);
}

TEST(ReplayIndex, RefusesWhatItDoesNotKnow) {
  const auto unknown = ReplayIndex({}, "belady", 10);
  ASSERT_FALSE(unknown.has_value());
  EXPECT_NE(unknown.error().message.find("default, lru"), std::string::npos);
  EXPECT_FALSE(ReplayIndex({}, "lru", 0).has_value());
}

trace::Trace Requests(const std::vector<std::vector<std::uint64_t>>& requests) {
  trace::Trace trace;
  for (const auto& ids : requests) {
    trace.requests.emplace_back();
    trace.requests.back().hash_ids = ids;
  }
  return trace;
}

TEST(ReplayIndex, SecondSightStoresWhatComesAgain) {
  const trace::Trace trace = Requests({{1, 2}, {1, 3}, {1, 3}, {1, 3}});
  const IndexReplay all = *ReplayIndex(trace, "lru", 10);
  EXPECT_EQ(all.inserts, 3u);
  EXPECT_EQ(all.leading_hits, 5u);
  const IndexReplay second = *ReplayIndex(trace, "lru", 10, Admission::kSecondSight);
  EXPECT_EQ(second.inserts, 2u);
  EXPECT_EQ(second.declined, 3u);
  EXPECT_EQ(second.leading_hits, 3u);
}

}  // namespace
}  // namespace kvpool::bench
