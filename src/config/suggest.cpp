#include "config/suggest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace kvpool::config {

std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string Suggest(std::string_view word, std::span<const std::string> known) {
  // Longer words are near nothing here, and the distance costs their length.
  constexpr std::size_t kLongestWord = 64;
  const std::string* nearest = nullptr;
  std::size_t least = std::max<std::size_t>(2, word.size() / 2);
  for (const std::string& candidate : known) {
    if (word.size() > kLongestWord) break;
    const std::size_t distance = EditDistance(word, candidate);
    const bool part = word.size() >= 4 && candidate.find(word) != std::string::npos;
    if (distance > least && !part) continue;
    least = std::min(distance, least);
    nearest = &candidate;
  }
  if (nearest != nullptr) return fmt::format("did you mean \"{}\"?", *nearest);
  return fmt::format("known are \"{}\"", fmt::join(known, "\", \""));
}

}  // namespace kvpool::config
