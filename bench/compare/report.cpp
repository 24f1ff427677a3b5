// WriteReport: one self-contained page.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/units.h"
#include "bench/compare/bench.h"
#include "bench/compare/chart.h"
#include "bench/compare/report_style.h"
#include "bench/compare/table.h"

namespace kvpool::bench {
namespace {

constexpr std::string_view kHowToRead =
    "<p class=\"soft\"><b>of devices</b>: share of the summed bandwidth of all devices. "
    "<b>CPU s/GiB</b>: user and system time of all threads for each GiB. <b>blocked s</b>: the "
    "retrieving threads' time off the processor plus their system time, from the kernel's "
    "schedstat; several threads add up. <b>layers at</b>: the worst time until layers 0 to j are "
    "complete, over their share of the whole time; 1.00 is in step. <b>gain</b>: how many times "
    "faster the pool is. <b>arithmetic</b>: how many times faster it should be on ideal devices. "
    "In brackets: the slowest and the fastest repeat.</p>\n";

// The retrievals of the largest part of the context: what the page begins with.
std::vector<const Row*> LargestCase(std::span<const Row> rows) {
  std::vector<const Row*> largest;
  for (const Row& row : rows) {
    if (row.case_name == "store" || !row.bytes_per_s) continue;
    if (!largest.empty() && row.bytes > largest.front()->bytes) largest.clear();
    if (largest.empty() || row.case_name == largest.front()->case_name) largest.push_back(&row);
  }
  return largest;
}

const Row* Named(std::span<const Row* const> rows, std::string_view method) {
  const auto found =
      std::find_if(rows.begin(), rows.end(), [&](const Row* row) { return row->method == method; });
  return found == rows.end() ? nullptr : *found;
}

std::string Lead(std::span<const Row* const> rows) {
  const Row* pool = Named(rows, "pool");
  if (pool == nullptr) return {};
  std::string lead = fmt::format("<p class=\"lead\">The pool brings {} back in {}, at {}",
                                 FormatBytes(pool->bytes), FormatSeconds(*pool->seconds),
                                 FormatRate(*pool->bytes_per_s));
  if (pool->fraction_of_devices) {
    lead += fmt::format(": {:.1f} % of what its devices give together",
                        100 * *pool->fraction_of_devices);
  }
  std::string gains;
  for (const Row* row : rows) {
    if (row == pool) continue;
    const double gain = *pool->bytes_per_s / *row->bytes_per_s;
    gains += fmt::format("{}{:.2f} times as fast as {}", gains.empty() ? "" : ", ", gain,
                         Escape(row->method));
  }
  return lead + (gains.empty() ? "" : "; " + gains) + ".</p>\n";
}

std::string Bars(std::span<const Row* const> rows) {
  double most = 0;
  for (const Row* row : rows) most = std::max(most, *row->bytes_per_s);
  std::string bars = "<div class=\"bars card\">\n";
  for (const Row* row : rows) {
    bars += fmt::format("<b>{}</b><div{}><i style=\"width:{:.1f}%\"></i><span>{}</span></div>\n",
                        Escape(row->method), row->method == "pool" ? " class=\"own\"" : "",
                        70 * *row->bytes_per_s / most, FormatRate(*row->bytes_per_s));
  }
  return bars + "</div>\n";
}

std::string Pictures(const BenchResult& result) {
  if (result.timelines.empty()) return {};
  const ChartScale scale = ScaleOf(result.timelines);
  std::string pictures =
      "<h2>What each device did</h2>\n<p>One retrieval of the whole context by each method, all on "
      "the same scale. The coloured area is the bytes brought back, so it is the same in every "
      "picture; white space under the dashed line is bandwidth that nobody used.</p>\n";
  pictures += DeviceLegend(result.timelines.front(), scale);
  for (const Timeline& timeline : result.timelines) pictures += TimelineFigure(timeline, scale);
  return pictures;
}

std::string Table(std::span<const Row> rows) {
  std::string table = "<h2>All figures</h2>\n<div class=\"scroll\"><table>\n<thead><tr>";
  for (const std::string_view column : TableColumns()) {
    table += fmt::format("<th scope=\"col\">{}</th>", column);
  }
  table += "</tr></thead>\n";
  for (const CaseTable& part : MakeTables(rows)) {
    table += fmt::format("<tbody><tr><th scope=\"rowgroup\">{}</th><td colspan=\"{}\"></td></tr>\n",
                         Escape(part.name + ": " + part.bytes), TableColumns().size() - 1);
    for (const auto& cells : part.rows) {
      table += cells.front().starts_with("pool") ? "<tr class=\"own\">" : "<tr>";
      for (const std::string& cell : cells) table += fmt::format("<td>{}</td>", Escape(cell));
      table += "</tr>\n";
    }
    table += "</tbody>\n";
  }
  return table + "</table></div>\n" + std::string(kHowToRead);
}

std::string Term(std::string_view name, std::string_view text) {
  return fmt::format("<dt>{}</dt><dd>{}</dd>\n", Escape(name), Escape(text));
}

std::string Conditions(const BenchResult& result) {
  std::string text = "<h2>How each method was run</h2>\n<dl class=\"card\">\n";
  std::vector<std::string_view> told;
  for (const Row& row : result.rows) {
    if (row.case_name == "store" || row.note.empty()) continue;
    if (std::find(told.begin(), told.end(), row.method) != told.end()) continue;
    told.push_back(row.method);
    text += Term(row.method, row.note);
  }
  text += "</dl>\n<h2>Configuration</h2>\n<dl class=\"card\">\n";
  for (const auto& [name, value] : result.facts) text += Term(name, value);
  text += Term("Machine", result.header.machine) + Term("Commit", result.header.commit) +
          Term("Settings", result.header.config_hash) + Term("Date", result.header.date);
  return text + "</dl>\n";
}

std::string MakePage(const BenchResult& result) {
  const auto largest = LargestCase(result.rows);
  std::string page = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
      "name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>kvpool: "
      "bringing a context back</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n",
      kReportStyle);
  page += "<h1>kvpool: bringing a context back from every device at once</h1>\n";
  page += Lead(largest);
  for (const std::string& warning : result.warnings) {
    page += fmt::format("<p class=\"warning\">{}</p>\n", Escape(warning));
  }
  if (!largest.empty()) page += Bars(largest);
  page += Pictures(result);
  page += Table(result.rows);
  page += Conditions(result);
  return page + "</main>\n</body>\n</html>\n";
}

}  // namespace

Result<void> WriteReport(const std::filesystem::path& path, const BenchResult& result) {
  std::ofstream file(path);
  file << MakePage(result);
  file.close();
  if (!file) {
    return Fail(Status::kIoError,
                fmt::format("cannot write {}: {}; name a file that you may write to.",
                            path.string(), std::strerror(errno)),
                errno);
  }
  return {};
}

}  // namespace kvpool::bench
