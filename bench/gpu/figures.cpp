#include "bench/gpu/figures.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "bench/compare/chart.h"
#include "bench/compare/table.h"

namespace kvpool::bench {
namespace {

constexpr const char* kMethods[] = {"recompute", "serial", "memory", "files", "pooled"};
constexpr const char* kColours[] = {"#8a8f98", "#b4653a", "#4f7cac", "#7a9e5b", "#2b3a55"};

std::string CaseOf(const Outcome& outcome) {
  return fmt::format("{}, {} tokens", outcome.model, outcome.tokens);
}

const Outcome* Find(std::span<const Outcome> outcomes, const Outcome& like,
                    std::string_view method) {
  const auto same = [&](const Outcome& one) {
    return one.model == like.model && one.tokens == like.tokens && one.method == method;
  };
  const auto at = std::find_if(outcomes.begin(), outcomes.end(), same);
  return at == outcomes.end() ? nullptr : &*at;
}

// The first layer's time over its part of the whole.
double FirstLayerRatio(const Outcome& outcome) {
  return outcome.load.first_layer_s * outcome.layers / outcome.load.whole_s;
}

double OverLink(const Outcome& outcome, const Yardsticks& yardsticks) {
  return outcome.bytes_per_s() / yardsticks.link_bytes_per_s;
}

double Narrowest(double bytes_per_s, const Yardsticks& yardsticks) {
  return std::min(bytes_per_s, yardsticks.link_bytes_per_s);
}

}  // namespace

// Of the longest context of each model: shorter ones are over before the devices are in step.
std::vector<Target> TargetsOf(std::span<const Outcome> outcomes, const Yardsticks& yardsticks) {
  std::vector<Target> targets;
  for (const Outcome& pooled : outcomes) {
    const bool longest = std::none_of(outcomes.begin(), outcomes.end(), [&](const Outcome& one) {
      return one.model == pooled.model && one.tokens > pooled.tokens;
    });
    if (pooled.method != "pooled" || !longest) continue;
    const auto add = [&](const char* what, double reached, double limit, bool at_least) {
      targets.push_back({fmt::format("{}: {}", CaseOf(pooled), what), reached, limit, at_least});
    };
    const Outcome* memory = Find(outcomes, pooled, "memory");
    const Outcome* files = Find(outcomes, pooled, "files");
    const Outcome* serial = Find(outcomes, pooled, "serial");
    if (memory != nullptr) {
      const double can = Narrowest(memory->devices_bytes_per_s, yardsticks);
      add("memory alone, of the narrower of link and memory", memory->bytes_per_s() / can, 0.95,
          true);
    }
    if (memory != nullptr && files != nullptr) {
      const double both = memory->bytes_per_s() + files->bytes_per_s();
      add("pooled, of what memory and files give together",
          pooled.bytes_per_s() / Narrowest(both, yardsticks), 0.95, true);
    }
    add("the first layer's time over its part of the whole", FirstLayerRatio(pooled), 1.1, false);
    add("seconds to the first token", pooled.load.ttft_s, 10, false);
    if (serial != nullptr) {
      add(fmt::format("faster to the first token than serial; the devices allow {:.2f}x",
                      serial->arithmetic_s / pooled.arithmetic_s)
              .c_str(),
          serial->load.ttft_s / pooled.load.ttft_s, 4.1, true);
    }
  }
  return targets;
}

void PrintOutcomes(std::span<const Outcome> outcomes, const Yardsticks& yardsticks,
                   std::FILE* out) {
  fmt::print(out, "{}; large pinned copies {}; compute {:.3g} flop/s\n", yardsticks.stager,
             FormatRate(yardsticks.link_bytes_per_s), yardsticks.flops_per_s);
  std::string last;
  for (const Outcome& one : outcomes) {
    if (CaseOf(one) != last) {
      last = CaseOf(one);
      fmt::print(out, "\n{}\n{:<10} {:>10} {:>9} {:>9} {:>9} {:>12} {:>10}\n", last, "method",
                 "seconds", "GB/s", "of link", "of these", "first layer", "TTFT");
    }
    if (one.bytes == 0) {
      fmt::print(out, "{:<10} {:>10} {:>9} {:>9} {:>9} {:>12} {:>10}\n", one.method, "", "", "", "",
                 "", FormatSeconds(one.load.ttft_s));
      continue;
    }
    fmt::print(out, "{:<10} {:>10} {:>9.2f} {:>9.3f} {:>9.3f} {:>12} {:>10}\n", one.method,
               FormatSeconds(one.load.whole_s), one.bytes_per_s() / 1e9, OverLink(one, yardsticks),
               one.bytes_per_s() / one.devices_bytes_per_s, FormatSeconds(one.load.first_layer_s),
               FormatSeconds(one.load.ttft_s));
  }
  fmt::print(out, "\n");
  for (const Target& target : TargetsOf(outcomes, yardsticks)) {
    fmt::print(out, "{:.3f}  at {} {:g}{}  {}\n", target.reached,
               target.at_least ? "least" : "most", target.limit, target.met() ? "" : ", missed",
               target.name);
  }
}

std::vector<Row> RowsOf(std::span<const Outcome> outcomes, const Yardsticks& yardsticks) {
  std::vector<Row> rows;
  for (const Outcome& one : outcomes) {
    Row row{
        .bench = "gpu_ttft", .case_name = CaseOf(one), .method = one.method, .bytes = one.bytes};
    row.note = yardsticks.stager;
    row.more = {{"ttft_s", one.load.ttft_s},
                {"link_bytes_per_s", yardsticks.link_bytes_per_s},
                {"flops_per_s", yardsticks.flops_per_s}};
    if (one.bytes != 0) {
      row.seconds = one.load.whole_s;
      row.bytes_per_s = one.bytes_per_s();
      row.fraction_of_devices = one.bytes_per_s() / one.devices_bytes_per_s;
      row.more.insert(row.more.end(), {{"first_layer_s", one.load.first_layer_s},
                                       {"first_layer_ratio", FirstLayerRatio(one)},
                                       {"fraction_of_link", OverLink(one, yardsticks)},
                                       {"arithmetic_ttft_s", one.arithmetic_s}});
    }
    rows.push_back(std::move(row));
  }
  for (const Target& target : TargetsOf(outcomes, yardsticks)) {
    Row row{.bench = "gpu_ttft-figures", .case_name = target.name, .method = "pooled"};
    row.note = yardsticks.stager;
    row.more = {
        {"reached", target.reached}, {"limit", target.limit}, {"met", target.met() ? 1. : 0.}};
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string PictureOf(std::span<const Outcome> outcomes, const Yardsticks& yardsticks) {
  constexpr double kLeft = 110, kWidth = 560, kBar = 16, kGap = 4, kTitle = 34;
  std::string bars;
  double y = 52;
  std::string last;
  double longest_s = 0;
  for (const Outcome& one : outcomes) {
    if (CaseOf(one) != last) {
      last = CaseOf(one);
      longest_s = 0;
      for (const Outcome& other : outcomes) {
        if (CaseOf(other) == last) longest_s = std::max(longest_s, other.load.ttft_s);
      }
      bars +=
          fmt::format("<text class=\"case\" x=\"8\" y=\"{}\">{}</text>\n", y + 20, Escape(last));
      y += kTitle;
    }
    const auto method = std::find(std::begin(kMethods), std::end(kMethods), one.method);
    const double width = kWidth * one.load.ttft_s / longest_s;
    bars += fmt::format(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>"
        "<rect x=\"{}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\" fill=\"{}\"/>"
        "<text x=\"{:.1f}\" y=\"{}\">{}</text>\n",
        kLeft - 8, y + 13, one.method, kLeft, y, width, kBar,
        kColours[method == std::end(kMethods) ? 0 : method - std::begin(kMethods)],
        kLeft + width + 6, y + 13, FormatSeconds(one.load.ttft_s));
    y += kBar + kGap;
  }
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 {0}\" width=\"760\" "
      "height=\"{0}\">\n<style>text{{font:13px sans-serif;fill:#222}}.case{{font-weight:bold}}"
      "</style>\n<rect width=\"760\" height=\"{0}\" fill=\"#fff\"/>\n"
      "<text class=\"case\" x=\"8\" y=\"22\">Time to first token</text>"
      "<text x=\"8\" y=\"42\">{1}, link {2}</text>\n{3}</svg>\n",
      y + 16, Escape(yardsticks.stager), FormatRate(yardsticks.link_bytes_per_s), bars);
}

}  // namespace kvpool::bench
