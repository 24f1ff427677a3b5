#include "bench/trace/trace.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>

namespace kvpool::trace {
namespace {

constexpr const char* kGood =
    R"({"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 2353]})";

// Everything that a reader says about a text.
struct Reading {
  std::vector<TraceRequest> requests;
  std::string error;
  std::uint64_t skipped = 0;
  std::string first_skipped;
};

Reading ReadAll(const std::string& text, const ReadOptions& options = {}) {
  std::istringstream input(text);
  TraceReader reader(input, "trace", options);
  Reading reading;
  for (;;) {
    auto next = reader.Next();
    if (!next) reading.error = next.error().message;
    if (!next || !*next) break;
    reading.requests.push_back(std::move(**next));
  }
  reading.skipped = reader.lines_skipped();
  reading.first_skipped = reader.first_skipped();
  return reading;
}

std::string ProblemOf(std::string_view line) {
  const auto request = ParseTraceLine(line);
  return request ? "" : request.error().message;
}

TEST(Trace, ReadsFieldsByNameAndToleratesOthers) {
  const Reading reading = ReadAll(
      R"({"model": {"hash_ids": [9]}, "hash_ids": [18446744073709551615, 0], "x": [[{}], null],)"
      R"( "output_length": 2, "timestamp": 1.5, "input_length": 3, "type": "chat"})");
  ASSERT_EQ(reading.error, "");
  ASSERT_EQ(reading.requests.size(), 1u);
  EXPECT_EQ(reading.requests[0], (TraceRequest{.timestamp_ms = 1.5,
                                               .input_tokens = 3,
                                               .output_tokens = 2,
                                               .hash_ids = {18446744073709551615u, 0}}));
}

TEST(Trace, ReadsBlankLinesCarriageReturnsAndALastLineWithoutEnd) {
  const std::string text = std::string(kGood) + "\r\n\n  \n" + kGood;
  EXPECT_EQ(ReadAll(text).requests.size(), 2u);
}

TEST(Trace, KeepsTheOrderOfLinesWhateverTheirTimes) {
  const Reading reading =
      ReadAll(R"({"timestamp": 9, "input_length": 1, "output_length": 1, "hash_ids": [1]})"
              "\n"
              R"({"timestamp": 3, "input_length": 1, "output_length": 1, "hash_ids": [2]})");
  ASSERT_EQ(reading.requests.size(), 2u);
  EXPECT_EQ(reading.requests[0].timestamp_ms, 9);
}

TEST(Trace, RefusesABadLineWithItsNumber) {
  const Reading reading = ReadAll(std::string(kGood) + "\n\n{\"timestamp\": 1, \"inp");
  EXPECT_EQ(reading.requests.size(), 1u);
  EXPECT_NE(reading.error.find("trace, line 3: the line is not valid JSON"), std::string::npos)
      << reading.error;
  EXPECT_NE(reading.error.find("cut off"), std::string::npos);
}

TEST(Trace, SkipsBadLinesWhenAsked) {
  const std::string text = std::string("nonsense\n") + kGood + "\n{}\n" + kGood + "\n";
  const Reading reading = ReadAll(text, {.skip_bad_lines = true});
  EXPECT_EQ(reading.requests.size(), 2u);
  EXPECT_EQ(reading.skipped, 2u);
  EXPECT_NE(reading.first_skipped.find("line 1:"), std::string::npos);
}

TEST(Trace, SaysWhatIsWrong) {
  EXPECT_EQ(ProblemOf(kGood), "");
  EXPECT_EQ(ProblemOf("[1]"), "the line is not a JSON object");
  EXPECT_EQ(ProblemOf("7"), "the line is not a JSON object");
  EXPECT_EQ(ProblemOf(R"({"timestamp": 0, "input_length": 1, "hash_ids": []})"),
            "the field output_length is missing");
  EXPECT_EQ(ProblemOf(R"({"timestamp": "soon"})"), "the field timestamp holds a string");
  EXPECT_EQ(ProblemOf(R"({"input_length": -4})"), "the field input_length is negative");
  EXPECT_EQ(ProblemOf(R"({"hash_ids": 4})"), "the field hash_ids is not a list");
  EXPECT_EQ(ProblemOf(R"({"hash_ids": [1, 2.5]})"), "an entry of hash_ids is not an integer");
  EXPECT_EQ(ProblemOf(R"({"hash_ids": [1, [2]]})"), "the field hash_ids holds an array");
  EXPECT_EQ(ProblemOf(R"({"hash_ids": [1], "hash_ids": [2]})"),
            "the field hash_ids stands there twice");
  EXPECT_EQ(ProblemOf(R"({"timestamp": 0, "input_length": 1e300})"), "a number is out of range");
}

TEST(Trace, RefusesHugeLinesWithoutHoldingThem) {
  const ReadOptions options{.max_line_bytes = 200, .max_hash_ids = 4, .skip_bad_lines = true};
  const std::string text = std::string(1 << 20, '[') + "\n" + kGood + "\n" +
                           R"({"hash_ids": [1, 2, 3, 4, 5]})" + "\n" + kGood + "\n";
  const Reading reading = ReadAll(text, options);
  EXPECT_EQ(reading.requests.size(), 2u);
  EXPECT_EQ(reading.skipped, 2u);
  EXPECT_NE(reading.first_skipped.find("line 1: the line is longer than 200 bytes"),
            std::string::npos);
  // Deep nesting costs no stack.
  const std::string deep = R"({"x": )" + std::string(1 << 20, '[');
  EXPECT_NE(ProblemOf(deep).find("not valid JSON"), std::string::npos);
}

TEST(Trace, DoesNotLookForTheEndOfAnEndlessLine) {
  const std::string text = std::string(1 << 20, '[') + "\n" + kGood + "\n";
  for (const bool skip : {false, true}) {
    std::istringstream input(text);
    TraceReader reader(input, "endless",
                       {.max_line_bytes = 200, .skip_bad_lines = skip, .give_up_bytes = 1000});
    const auto request = reader.Next();
    ASSERT_FALSE(request);
    EXPECT_NE(request.error().message.find("endless, line 1"), std::string::npos);
    EXPECT_LE(input.tellg(), 1001) << "it read on";
  }
}

TEST(Trace, WritesWhatItReads) {
  const TraceRequest request{.timestamp_ms = 1234.25,
                             .input_tokens = 9,
                             .output_tokens = 0,
                             .hash_ids = {0, 18446744073709551615u}};
  std::ostringstream line;
  WriteTraceLine(request, line);
  EXPECT_EQ(*ParseTraceLine(line.str()), request);
  line.str("");
  WriteTraceLine(*ParseTraceLine(kGood), line);
  EXPECT_EQ(line.str(), std::string(kGood) + "\n") << "the form of the original traces";
}

TEST(Trace, SaysThatAFileIsNotThere) {
  const auto trace = ReadTrace("no/such/file.jsonl");
  ASSERT_FALSE(trace.has_value());
  EXPECT_NE(trace.error().message.find("no/such/file.jsonl"), std::string::npos);
}

}  // namespace
}  // namespace kvpool::trace
