// How deep a file nests, told before the parser follows it: that takes a stack frame a level.
#pragma once

#include <optional>
#include <string_view>

#include "config/problem.h"

namespace kvpool::config {

inline constexpr int kMaxKeyDots = 64;
inline constexpr int kMaxBrackets = 64;

// The first key with too many parts, or bracket within too many others. Strings and comments do not
// count. Takes any bytes.
std::optional<Problem> FindTooDeep(std::string_view toml);

}  // namespace kvpool::config
