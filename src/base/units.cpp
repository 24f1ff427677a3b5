#include "base/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "base/limits.h"

namespace kvpool {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t bytes;
};

constexpr std::array<Unit, 10> kUnits{{{"B", 1},
                                       {"KiB", kKiB},
                                       {"MiB", kMiB},
                                       {"GiB", kGiB},
                                       {"TiB", 1024 * kGiB},
                                       {"KB", 1'000},
                                       {"MB", 1'000'000},
                                       {"GB", 1'000'000'000},
                                       {"TB", 1'000'000'000'000},
                                       {"", 1}}};

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

tl::unexpected<Error> BadSize(std::string_view text) {
  return Fail(Status::kInvalid,
              fmt::format("\"{}\" is not a size: write a number and B, KiB, MiB, GiB, TiB or KB, "
                          "MB, GB, TB (10^3 steps), such as 2GiB",
                          text));
}

}  // namespace

Result<std::uint64_t> ParseBytes(std::string_view text) {
  const std::string_view trimmed = Trim(text);
  double number = 0;
  const char* end = trimmed.data() + trimmed.size();
  const auto [rest, error] = std::from_chars(trimmed.data(), end, number);
  if (error != std::errc{} || !(number >= 0)) return BadSize(text);
  const std::string_view suffix = Trim({rest, static_cast<std::size_t>(end - rest)});
  for (const Unit& unit : kUnits) {
    if (suffix != unit.name) continue;
    const double bytes = number * static_cast<double>(unit.bytes);
    if (bytes >= 9.2e18) return BadSize(text);
    return static_cast<std::uint64_t>(std::llround(bytes));
  }
  return BadSize(text);
}

std::string FormatBytes(std::uint64_t bytes) {
  for (std::size_t i = 4; i > 0; --i) {
    const Unit& unit = kUnits[i];
    if (bytes < unit.bytes) continue;
    if (bytes % unit.bytes == 0) return fmt::format("{} {}", bytes / unit.bytes, unit.name);
    return fmt::format("{:.2f} {}", static_cast<double>(bytes) / static_cast<double>(unit.bytes),
                       unit.name);
  }
  return fmt::format("{} B", bytes);
}

std::string FormatRate(double bytes_per_s) {
  if (bytes_per_s >= 1e9) return fmt::format("{:.2f} GB/s", bytes_per_s / 1e9);
  return fmt::format("{:.0f} MB/s", bytes_per_s / 1e6);
}

}  // namespace kvpool
