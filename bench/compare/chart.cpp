#include "bench/compare/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/units.h"
#include "bench/compare/table.h"

namespace kvpool::bench {
namespace {

constexpr double kWidth = 1000;  // of the drawing; stretched to the page's
constexpr double kHeight = 300;
constexpr std::size_t kColours = 8;

std::size_t ColourOf(std::size_t device) { return device % kColours + 1; }

// Bytes read by the time `at`, between the samples by a straight line.
double BytesAt(const Timeline& timeline, const DeviceTimeline& device, double at) {
  const auto& times = timeline.at_s;
  const auto after = std::upper_bound(times.begin(), times.end(), at);
  if (after == times.begin()) return 0;
  const auto i = static_cast<std::size_t>(after - times.begin());
  const auto low = static_cast<double>(device.bytes_read[i - 1]);
  if (i == times.size()) return low;
  const auto high = static_cast<double>(device.bytes_read[i]);
  return low + (high - low) * (at - times[i - 1]) / (times[i] - times[i - 1]);
}

// A step outline from `low` up to `high`, both by bin in bytes a second.
std::string StepPath(const std::vector<double>& low, const std::vector<double>& high, double bin_s,
                     const ChartScale& scale) {
  const auto x = [&](std::size_t edge) {
    return static_cast<double>(edge) * bin_s / scale.seconds * kWidth;
  };
  const auto y = [&](double rate) {
    return kHeight * (1 - std::min(1.0, rate / scale.bytes_per_s));
  };
  std::string path = fmt::format("M{:.1f} {:.1f}", x(0), y(low[0]));
  for (std::size_t b = 0; b < high.size(); ++b) {
    path += fmt::format("V{:.1f}H{:.1f}", y(high[b]), x(b + 1));
  }
  for (std::size_t b = low.size(); b-- > 0;) path += fmt::format("V{:.1f}H{:.1f}", y(low[b]), x(b));
  return path + "Z";
}

std::string Areas(const Timeline& timeline, const ChartScale& scale) {
  // Bins of the same length in all pictures, as far as the shortest allows.
  const double wanted_s = std::max(0.01, scale.seconds / 200);
  const auto bins = static_cast<std::size_t>(std::ceil(std::max(1.0, timeline.seconds / wanted_s)));
  const double bin_s = timeline.seconds / static_cast<double>(bins);
  std::string areas;
  std::vector<double> low(bins);
  const auto rates = Bins(timeline, bins, timeline.seconds);
  for (std::size_t d = 0; d < timeline.devices.size(); ++d) {
    const DeviceTimeline& device = timeline.devices[d];
    std::vector<double> high = low;
    for (std::size_t b = 0; b < bins; ++b) high[b] += rates[d][b];
    const std::uint64_t bytes = device.bytes_read.empty() ? 0 : device.bytes_read.back();
    if (bytes != 0) {
      areas += fmt::format(
          "<path class=\"area\" fill=\"var(--device-{})\" d=\"{}\"><title>{}: {}, on average {}"
          "</title></path>\n",
          ColourOf(d), StepPath(low, high, bin_s, scale), Escape(device.name), FormatBytes(bytes),
          FormatRate(static_cast<double>(bytes) / timeline.seconds));
    }
    low = std::move(high);
  }
  return areas;
}

std::string Axes(const ChartScale& scale, std::string& y_labels, std::string& x_labels) {
  std::string lines;
  for (const double tick : NiceTicks(scale.bytes_per_s / 1e9, 4)) {
    const double part = tick * 1e9 / scale.bytes_per_s;
    if (part > 0.93) continue;  // the unit stands there
    lines += fmt::format("<line class=\"grid\" x1=\"0\" x2=\"{0}\" y1=\"{1:.1f}\" y2=\"{1:.1f}\"/>",
                         kWidth, kHeight * (1 - part));
    y_labels += fmt::format("<span style=\"bottom:{:.2f}%\">{:g}</span>", part * 100, tick);
  }
  for (const double tick : NiceTicks(scale.seconds, 8)) {
    x_labels +=
        fmt::format("<span style=\"left:{:.2f}%\">{:g}</span>", tick / scale.seconds * 100, tick);
  }
  return lines;
}

std::string Summary(const Timeline& timeline, const ChartScale& scale) {
  const double rate = static_cast<double>(timeline.bytes) / timeline.seconds;
  return fmt::format("{} in {}: {}, {:.0f} % of the devices together", FormatBytes(timeline.bytes),
                     FormatSeconds(timeline.seconds), FormatRate(rate),
                     100 * rate / scale.devices_bytes_per_s);
}

}  // namespace

std::string Escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::vector<double> NiceTicks(double limit, int most) {
  std::vector<double> ticks;
  if (!(limit > 0)) return ticks;
  double step = std::pow(10, std::floor(std::log10(limit / most)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    if (step * factor * most >= limit * 0.999) {
      step *= factor;
      break;
    }
  }
  for (int i = 0; step * i <= limit * 1.0001; ++i) ticks.push_back(step * i);
  return ticks;
}

ChartScale ScaleOf(std::span<const Timeline> timelines) {
  ChartScale scale{.seconds = 0, .bytes_per_s = 0};
  for (const Timeline& timeline : timelines) {
    scale.seconds = std::max(scale.seconds, timeline.seconds);
    double sum = 0;
    for (const DeviceTimeline& device : timeline.devices) sum += device.bytes_per_s;
    scale.devices_bytes_per_s = std::max(scale.devices_bytes_per_s, sum);
  }
  scale.seconds = std::max(scale.seconds, 1e-6);
  scale.bytes_per_s = std::max(1.12 * scale.devices_bytes_per_s, 1.0);
  return scale;
}

std::vector<std::vector<double>> Bins(const Timeline& timeline, std::size_t bins, double end_s) {
  std::vector<std::vector<double>> rates;
  const double bin_s = end_s / static_cast<double>(bins);
  for (const DeviceTimeline& device : timeline.devices) {
    std::vector<double>& own = rates.emplace_back();
    double before = 0;
    for (std::size_t b = 1; b <= bins; ++b) {
      const double now =
          BytesAt(timeline, device, b == bins ? end_s : static_cast<double>(b) * bin_s);
      own.push_back((now - before) / bin_s);
      before = now;
    }
  }
  return rates;
}

std::string TimelineFigure(const Timeline& timeline, const ChartScale& scale) {
  std::string y_labels;
  std::string x_labels;
  const std::string grid = Axes(scale, y_labels, x_labels);
  const double sum_y = kHeight * (1 - scale.devices_bytes_per_s / scale.bytes_per_s);
  const std::string summary = Summary(timeline, scale);
  return fmt::format(
      R"(<figure>
<figcaption><b>{method}</b> <span>{summary}</span></figcaption>
<div class="plot">
<div class="unit">GB/s</div>
<div class="y" aria-hidden="true">{y}</div>
<svg viewBox="0 0 {w} {h}" preserveAspectRatio="none" role="img" aria-label="{method}: {summary}">
{grid}
{areas}<line class="sum" x1="0" x2="{w}" y1="{sum:.1f}" y2="{sum:.1f}"/>
</svg>
<div class="x" aria-hidden="true">{x}</div>
<div class="unit x-unit">seconds since the start</div>
</div>
</figure>
)",
      fmt::arg("method", Escape(timeline.method)), fmt::arg("summary", Escape(summary)),
      fmt::arg("y", y_labels), fmt::arg("x", x_labels), fmt::arg("w", kWidth),
      fmt::arg("h", kHeight), fmt::arg("grid", grid), fmt::arg("areas", Areas(timeline, scale)),
      fmt::arg("sum", sum_y));
}

std::string DeviceLegend(const Timeline& timeline, const ChartScale& scale) {
  std::string legend = "<ul class=\"legend\">";
  for (std::size_t d = 0; d < timeline.devices.size(); ++d) {
    const DeviceTimeline& device = timeline.devices[d];
    legend +=
        fmt::format("<li><i style=\"background:var(--device-{})\"></i>{} <small>{}</small></li>",
                    ColourOf(d), Escape(device.name), FormatRate(device.bytes_per_s));
  }
  legend += fmt::format("<li><i class=\"dashed\"></i>all together <small>{}</small></li></ul>\n",
                        FormatRate(scale.devices_bytes_per_s));
  return legend;
}

}  // namespace kvpool::bench
