// Suggestions for misspelt words.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace kvpool::config {

// Levenshtein's distance in bytes.
std::size_t EditDistance(std::string_view a, std::string_view b);

// `did you mean "capacity"?` when one of `known` is near `word`, else `known are "a", "b"`.
std::string Suggest(std::string_view word, std::span<const std::string> known);

}  // namespace kvpool::config
