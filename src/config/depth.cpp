#include "config/depth.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvpool::config {
namespace {

// The end of the string that opens at `at`. One of a single line ends with its line, whatever it
// lacks.
std::size_t EndOfString(std::string_view toml, std::size_t at) {
  const char quote = toml[at];
  const bool escapes = quote == '"';
  const std::string three(3, quote);
  const bool multi_line = toml.substr(at, 3) == three;
  for (at += multi_line ? 3 : 1; at < toml.size(); ++at) {
    if (escapes && toml[at] == '\\') {
      ++at;
    } else if (multi_line && toml.substr(at, 3) == three) {
      // Up to two quotes may stand before the closing three.
      at += 3;
      for (int more = 0; more < 2 && at < toml.size() && toml[at] == quote; ++more) ++at;
      return at;
    } else if (!multi_line && toml[at] == '\n') {
      return at;
    } else if (!multi_line && toml[at] == quote) {
      return at + 1;
    }
  }
  return toml.size();
}

}  // namespace

std::optional<Problem> FindTooDeep(std::string_view toml) {
  int line = 1;
  int dots = 0;
  int brackets = 0;
  for (std::size_t at = 0; at < toml.size();) {
    const char c = toml[at];
    std::size_t next = at + 1;
    if (c == '"' || c == '\'') next = EndOfString(toml, at);
    if (c == '#') next = std::min(toml.find('\n', at), toml.size());
    if (c == '.') ++dots;
    if (c == '=' || c == ',' || c == '\n') dots = 0;
    if (c == '[' || c == '{') ++brackets;
    if (c == ']' || c == '}') brackets = std::max(0, brackets - 1);
    if (dots > kMaxKeyDots || brackets > kMaxBrackets) {
      return Problem{
          "",
          fmt::format("a key of more than {} parts, or more than {} brackets within each "
                      "other: no pool file needs them, remove them",
                      kMaxKeyDots + 1, kMaxBrackets),
          line};
    }
    const std::string_view taken = toml.substr(at, next - at);
    line += static_cast<int>(std::count(taken.begin(), taken.end(), '\n'));
    at = next;
  }
  return std::nullopt;
}

}  // namespace kvpool::config
