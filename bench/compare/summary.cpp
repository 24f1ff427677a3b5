#include "bench/compare/summary.h"

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"

namespace kvpool::bench {
namespace {

template <class Get>
std::optional<double> MedianOf(std::span<const Sample> samples, Get&& get) {
  std::vector<double> values;
  for (const Sample& sample : samples) {
    const std::optional<double> value = get(sample);
    if (!value) return std::nullopt;
    values.push_back(*value);
  }
  return Median(std::move(values));
}

}  // namespace

double Median(std::vector<double> values) {
  KVPOOL_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Row Summarise(std::span<const Sample> samples, double devices_bytes_per_s) {
  KVPOOL_CHECK(!samples.empty());
  Row row;
  row.bytes = samples.front().bytes;
  const auto bytes = static_cast<double>(row.bytes);
  const auto [fastest, slowest] =
      std::minmax_element(samples.begin(), samples.end(),
                          [](const Sample& a, const Sample& b) { return a.seconds < b.seconds; });
  row.seconds = MedianOf(samples, [](const Sample& s) { return std::optional(s.seconds); });
  row.bytes_per_s = bytes / *row.seconds;
  row.bytes_per_s_min = bytes / slowest->seconds;
  row.bytes_per_s_max = bytes / fastest->seconds;
  row.fraction_of_devices = *row.bytes_per_s / devices_bytes_per_s;
  row.cpu_s_per_gib = MedianOf(samples, [&](const Sample& s) {
    return std::optional(s.cpu_s / (bytes / static_cast<double>(kGiB)));
  });
  row.blocked_s = MedianOf(samples, [](const Sample& s) { return s.blocked_s; });
  row.spin_s = MedianOf(samples, [](const Sample& s) { return s.spin_s; });
  row.prefix_hit_ratio = MedianOf(samples, [](const Sample& s) { return s.hit_ratio; });
  row.layer_ratio = MedianOf(samples, [](const Sample& s) { return s.layer_ratio; });
  return row;
}

}  // namespace kvpool::bench
