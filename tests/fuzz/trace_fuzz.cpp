// Any bytes: requests that survive being written and read again, or refusals that name the line.
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "base/check.h"
#include "bench/trace/trace.h"

namespace {

using namespace kvpool::trace;

std::uint64_t CountAll(const std::string& text, const ReadOptions& options) {
  std::istringstream input(text);
  TraceReader reader(input, "fuzz", options);
  std::uint64_t requests = 0;
  for (auto next = reader.Next(); next.has_value() && next->has_value(); next = reader.Next()) {
    ++requests;
    std::ostringstream line;
    WriteTraceLine(**next, line);
    std::string written = line.str();
    written.pop_back();
    const auto again = ParseTraceLine(written);
    KVPOOL_CHECK(again.has_value() && *again == **next);
  }
  KVPOOL_CHECK(requests + reader.lines_skipped() <= reader.line());
  return requests;
}

// Requests until the first bad line, which must be named.
std::uint64_t CountUntilBad(const std::string& text, const ReadOptions& options) {
  std::istringstream input(text);
  TraceReader reader(input, "fuzz", options);
  for (std::uint64_t requests = 0;; ++requests) {
    const auto next = reader.Next();
    if (!next) {
      KVPOOL_CHECK(next.error().status == kvpool::Status::kInvalid);
      const std::string line = "line " + std::to_string(reader.line()) + ":";
      KVPOOL_CHECK(next.error().message.find(line) != std::string::npos);
      return requests;
    }
    if (!*next) return requests;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  ReadOptions options{.max_line_bytes = 4096, .max_hash_ids = 64};
  const std::uint64_t until_bad = CountUntilBad(text, options);
  options.skip_bad_lines = true;
  KVPOOL_CHECK(CountAll(text, options) >= until_bad);
  return 0;
}
