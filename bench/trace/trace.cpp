#include "bench/trace/trace.h"

#include <fmt/format.h>

#include <cerrno>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace kvpool::trace {
namespace {

// Takes the four known fields out of one object and steps over everything else, so that a line
// costs the memory of its ids and no more, however it is nested.
class LineHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit LineHandler(const ReadOptions& options) : options_(options) {}

  bool null() override { return Other("null"); }
  bool boolean(bool) override { return Other("a boolean"); }
  bool string(string_t&) override { return Other("a string"); }
  bool binary(binary_t&) override { return Other("bytes"); }
  bool number_integer(number_integer_t value) override {
    if (field_ == Field::kIds) return AddId(static_cast<std::uint64_t>(value));
    return Number(static_cast<double>(value), 0);
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (field_ == Field::kIds) return AddId(value);
    return Number(static_cast<double>(value), value);
  }
  bool number_float(number_float_t value, const string_t&) override {
    if (field_ == Field::kIds) return Refuse("an entry of hash_ids is not an integer");
    if (field_ == Field::kNone) return Other("a number");
    if (!(std::abs(value) < 9e15)) return Refuse("a number is out of range");
    return Number(value, value < 0 ? 0 : static_cast<std::uint64_t>(value));
  }
  bool start_object(std::size_t) override {
    if (depth_++ == 0) return true;
    return Other("an object");
  }
  bool end_object() override { return Leave(); }
  bool start_array(std::size_t) override {
    if (depth_++ == 0) return Refuse("the line is not a JSON object");
    if (field_ == Field::kIds && depth_ == 2) return true;
    return Other("an array");
  }
  bool end_array() override { return Leave(); }
  bool key(string_t& name) override {
    if (depth_ > 1) return true;
    field_ = FieldOf(name);
    if (field_ == Field::kNone) return true;
    const unsigned bit = 1u << static_cast<unsigned>(field_);
    if ((seen_ & bit) != 0) return Refuse(fmt::format("the field {} stands there twice", name));
    seen_ |= bit;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Refuse(fmt::format("the line is not valid JSON from character {} on; it may be cut off",
                              position));
  }

  Result<TraceRequest> Finish() {
    for (const Field field : {Field::kTimestamp, Field::kInput, Field::kOutput, Field::kIds}) {
      if (!problem_.empty()) break;
      if ((seen_ >> static_cast<unsigned>(field) & 1) == 0) {
        problem_ = fmt::format("the field {} is missing", NameOf(field));
      }
    }
    if (problem_.empty()) return std::move(request_);
    return Fail(Status::kInvalid, std::move(problem_));
  }

 private:
  enum class Field : unsigned { kNone, kTimestamp, kInput, kOutput, kIds };

  static std::string_view NameOf(Field field) {
    constexpr std::string_view kNames[] = {"", "timestamp", "input_length", "output_length",
                                           "hash_ids"};
    return kNames[static_cast<unsigned>(field)];
  }
  static Field FieldOf(std::string_view name) {
    for (const Field field : {Field::kTimestamp, Field::kInput, Field::kOutput, Field::kIds}) {
      if (name == NameOf(field)) return field;
    }
    return Field::kNone;
  }

  bool Refuse(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    return false;
  }
  bool Other(std::string_view what) {
    if (depth_ == 0) return Refuse("the line is not a JSON object");
    if (field_ == Field::kNone) return true;
    return Refuse(fmt::format("the field {} holds {}", NameOf(field_), what));
  }
  bool Leave() {
    if (--depth_ <= 1) field_ = Field::kNone;
    return true;
  }
  bool Number(double value, std::uint64_t whole) {
    if (field_ == Field::kNone) return Other("a number");
    if (field_ != Field::kTimestamp && value < 0) {
      return Refuse(fmt::format("the field {} is negative", NameOf(field_)));
    }
    if (field_ == Field::kTimestamp) request_.timestamp_ms = value;
    if (field_ == Field::kInput) request_.input_tokens = whole;
    if (field_ == Field::kOutput) request_.output_tokens = whole;
    field_ = Field::kNone;
    return true;
  }
  bool AddId(std::uint64_t id) {
    if (depth_ != 2) return Refuse("the field hash_ids is not a list");
    if (request_.hash_ids.size() == options_.max_hash_ids) {
      return Refuse(fmt::format("hash_ids has more than {} entries", options_.max_hash_ids));
    }
    request_.hash_ids.push_back(id);
    return true;
  }

  const ReadOptions& options_;
  TraceRequest request_;
  std::size_t depth_ = 0;
  Field field_ = Field::kNone;
  unsigned seen_ = 0;
  std::string problem_;
};

}  // namespace

Result<TraceRequest> ParseTraceLine(std::string_view line, const ReadOptions& options) {
  if (line.size() > options.max_line_bytes) {
    return Fail(Status::kInvalid,
                fmt::format("the line is longer than {} bytes", options.max_line_bytes));
  }
  LineHandler handler(options);
  nlohmann::json::sax_parse(line.begin(), line.end(), &handler);
  return handler.Finish();
}

TraceReader::TraceReader(std::istream& input, std::string name, const ReadOptions& options)
    : input_(input), name_(std::move(name)), options_(options) {}

TraceReader::Line TraceReader::ReadLine() {
  buffer_.clear();
  std::streambuf& bytes = *input_.rdbuf();
  for (std::size_t length = 0;; ++length) {
    const int c = bytes.sbumpc();
    const bool end = c == std::char_traits<char>::eof();
    if (end) input_.setstate(std::ios::eofbit);
    if (end && length == 0) return Line::kEnd;
    if (length == 0) ++line_;
    if (end || c == '\n') return length > options_.max_line_bytes ? Line::kTooLong : Line::kWhole;
    if (length < options_.max_line_bytes) {
      buffer_.push_back(static_cast<char>(c));
    } else if (!options_.skip_bad_lines) {
      return Line::kTooLong;
    } else if (length >= options_.give_up_bytes) {
      return Line::kEndless;
    }
  }
}

Result<std::optional<TraceRequest>> TraceReader::Next() {
  for (;;) {
    Line line;
    try {
      line = ReadLine();
    } catch (const std::ios::failure&) {
      input_.setstate(std::ios::badbit);
      line = Line::kEnd;
    }
    if (input_.bad()) {
      return Fail(Status::kIoError,
                  fmt::format("{} cannot be read on after line {}.", name_, line_));
    }
    if (line == Line::kEnd) return std::nullopt;
    if (line == Line::kEndless) {
      return Fail(Status::kInvalid,
                  fmt::format("{}, line {}: the line does not end within {} bytes; check that this "
                              "is a trace.",
                              name_, line_, options_.give_up_bytes));
    }
    if (line == Line::kWhole && buffer_.find_first_not_of(" \t\r") == std::string::npos) continue;

    Result<TraceRequest> request =
        line == Line::kWhole
            ? ParseTraceLine(buffer_, options_)
            : Fail(Status::kInvalid,
                   fmt::format("the line is longer than {} bytes", options_.max_line_bytes));
    if (request) return std::optional<TraceRequest>(std::move(*request));
    std::string message = fmt::format("{}, line {}: {}; correct the line or add --skip-bad-lines.",
                                      name_, line_, request.error().message);
    if (!options_.skip_bad_lines) return Fail(Status::kInvalid, std::move(message));
    if (lines_skipped_++ == 0) first_skipped_ = std::move(message);
  }
}

Result<Trace> ReadTrace(const std::filesystem::path& path, const ReadOptions& options) {
  std::error_code ignored;
  std::ifstream input(path, std::ios::binary);
  if (!input || std::filesystem::is_directory(path, ignored)) {
    return Fail(Status::kInvalid,
                fmt::format("The trace {} cannot be opened; check the path.", path.string()),
                errno);
  }
  TraceReader reader(input, path.string(), options);
  Trace trace;
  for (;;) {
    auto next = reader.Next();
    if (!next) return tl::unexpected(std::move(next.error()));
    if (!*next) break;
    trace.requests.push_back(std::move(**next));
  }
  trace.lines_skipped = reader.lines_skipped();
  trace.first_skipped = reader.first_skipped();
  return trace;
}

void WriteTraceLine(const TraceRequest& request, std::ostream& output) {
  // fmt writes the shortest text that reads back as the same double: whole ones without a point.
  output << fmt::format(
      R"({{"timestamp": {}, "input_length": {}, "output_length": {}, "hash_ids": [{}]}})"
      "\n",
      request.timestamp_ms, request.input_tokens, request.output_tokens,
      fmt::join(request.hash_ids, ", "));
}

}  // namespace kvpool::trace
