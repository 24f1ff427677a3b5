// Trace: requests as an LLM server saw them, in the format of the Mooncake traces (FAST'25): one
// JSON object a line with timestamp, input_length, output_length and hash_ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <istream>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "kvpool/result.h"

namespace kvpool::trace {

struct TraceRequest {
  double timestamp_ms = 0;  // arrival, from the trace's start; need not be in order
  std::uint64_t input_tokens = 0;
  std::uint64_t output_tokens = 0;
  // One id a prefix block, in order; equal ids are equal prefixes, so a hit is a leading run.
  std::vector<std::uint64_t> hash_ids;

  friend bool operator==(const TraceRequest&, const TraceRequest&) = default;
};

struct ReadOptions {
  std::size_t max_line_bytes = std::size_t{64} << 20;
  std::size_t max_hash_ids = std::size_t{1} << 20;  // a line
  bool skip_bad_lines = false;                      // count them and go on
  // No line is read further than this to find its end, not even one that is skipped.
  std::size_t give_up_bytes = std::size_t{256} << 20;
};

// Reads a trace line by line and holds one line at a time, and never more than the limits.
// Threads: one at a time.
class TraceReader {
 public:
  // `name` is what error messages call the input. The stream outlives the reader.
  TraceReader(std::istream& input, std::string name, const ReadOptions& options = {});

  // The next request; none at the end. kInvalid for a bad line, with its number and what is wrong;
  // kIoError where the input cannot be read. After an error the reader stands behind that line, or
  // within it where it is too long.
  Result<std::optional<TraceRequest>> Next();

  std::uint64_t line() const { return line_; }  // read so far
  std::uint64_t lines_skipped() const { return lines_skipped_; }
  const std::string& first_skipped() const { return first_skipped_; }  // its message

 private:
  enum class Line { kWhole, kTooLong, kEndless, kEnd };
  Line ReadLine();

  std::istream& input_;
  std::string name_;
  ReadOptions options_;
  std::string buffer_;
  std::uint64_t line_ = 0;
  std::uint64_t lines_skipped_ = 0;
  std::string first_skipped_;
};

// One line. The error is a sentence without the line's number.
Result<TraceRequest> ParseTraceLine(std::string_view line, const ReadOptions& options = {});

struct Trace {
  std::vector<TraceRequest> requests;
  std::uint64_t lines_skipped = 0;
  std::string first_skipped;
};

// A whole file. Errors as TraceReader::Next, and kInvalid where the file cannot be opened.
Result<Trace> ReadTrace(const std::filesystem::path& path, const ReadOptions& options = {});

// Writes one line; what ParseTraceLine reads back as the same request.
void WriteTraceLine(const TraceRequest& request, std::ostream& output);

}  // namespace kvpool::trace
