// Chart: what each device did over time, as an inline picture. Pure functions.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bench/compare/bench.h"

namespace kvpool::bench {

// The same for all pictures of a page, so that they can be compared by eye.
struct ChartScale {
  double seconds = 1;              // the width
  double bytes_per_s = 1;          // the height
  double devices_bytes_per_s = 0;  // where the dashed line goes: all devices together
};
ChartScale ScaleOf(std::span<const Timeline> timelines);

// Bytes a second of each device in `bins` equal bins of [0, end_s).
std::vector<std::vector<double>> Bins(const Timeline& timeline, std::size_t bins, double end_s);

// A figure: the stacked bandwidth of the devices in device order, one colour each, axes with units.
// Colours are the CSS variables --device-1 to --device-8.
std::string TimelineFigure(const Timeline& timeline, const ChartScale& scale);
// Which colour is which device.
std::string DeviceLegend(const Timeline& timeline, const ChartScale& scale);

// Text for HTML, attributes included.
std::string Escape(std::string_view text);

// Steps of 1, 2 or 5 times a power of ten, at most `most` of them up to `limit`, from 0 on.
std::vector<double> NiceTicks(double limit, int most);

}  // namespace kvpool::bench
