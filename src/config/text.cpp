#include "config/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "base/limits.h"

namespace kvpool::config {
namespace {

bool Continues(std::string_view text, std::size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
}

// The length of the character at `at`; 0 when it is not well-formed.
std::size_t CharacterLength(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if (!Continues(text, at + i)) return 0;
  }
  const auto next = static_cast<unsigned char>(text[at + 1]);
  const bool overlong = (lead == 0xe0 && next < 0xa0) || (lead == 0xf0 && next < 0x90);
  const bool surrogate = lead == 0xed && next >= 0xa0;
  const bool beyond = lead == 0xf4 && next >= 0x90;
  return overlong || surrogate || beyond ? 0 : length;
}

bool IsNameByte(char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
         (byte >= '0' && byte <= '9') || byte == '.' || byte == '-' || byte == '_';
}

}  // namespace

bool IsUtf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = CharacterLength(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

std::string ProblemOfName(std::string_view owner, std::string_view name) {
  if (!name.empty() && name.size() <= kMaxNameBytes &&
      std::all_of(name.begin(), name.end(), IsNameByte)) {
    return "";
  }
  return fmt::format(
      "{}: \"{}\" is not a name: use 1 to {} letters, digits, dots, dashes or underscores", owner,
      Printable(name), kMaxNameBytes);
}

std::string Printable(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  std::string out;
  for (const char c : text.substr(0, kLongest)) out += c >= ' ' && c < 0x7f ? c : '?';
  if (text.size() > kLongest) out += "...";
  return out;
}

std::string Title(std::string_view noun, std::size_t index, std::string_view name) {
  if (name.empty()) return fmt::format("{} {}", noun, index + 1);
  return fmt::format("{} \"{}\"", noun, Printable(name));
}

}  // namespace kvpool::config
