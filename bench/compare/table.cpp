#include "bench/compare/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/units.h"

namespace kvpool::bench {
namespace {

constexpr std::array<std::string_view, 9> kColumns = {"method",     "seconds",   "GB/s",
                                                      "of devices", "CPU s/GiB", "blocked s",
                                                      "layers at",  "gain",      "arithmetic"};

std::string Text(const std::optional<double>& value, std::string_view format) {
  return value ? fmt::format(fmt::runtime(format), *value) : std::string();
}

std::string Bandwidth(const Row& row) {
  if (!row.bytes_per_s) return {};
  const double low = row.bytes_per_s_min.value_or(*row.bytes_per_s);
  const double high = row.bytes_per_s_max.value_or(*row.bytes_per_s);
  return fmt::format("{:.2f} ({:.2f}-{:.2f})", *row.bytes_per_s / 1e9, low / 1e9, high / 1e9);
}

// The row that the others of its case are measured against.
const Row* Reference(std::span<const Row> rows, const std::string& case_name) {
  for (const Row& row : rows) {
    if (row.case_name == case_name && row.method.starts_with("pool")) return &row;
  }
  return nullptr;
}

std::string Times(const std::optional<double>& fast, const std::optional<double>& slow) {
  return fast && slow && *slow > 0 ? fmt::format("{:.2f}x", *fast / *slow) : std::string();
}

std::vector<std::string> Cells(const Row& row, const Row* reference) {
  const bool compare = reference != nullptr && reference != &row;
  return {
      row.method,
      Text(row.seconds, "{:.3f}"),
      Bandwidth(row),
      Text(row.fraction_of_devices, "{:.3f}"),
      Text(row.cpu_s_per_gib, "{:.3f}"),
      Text(row.blocked_s, "{:.3f}"),
      Text(row.layer_ratio, "{:.2f}"),
      compare ? Times(reference->bytes_per_s, row.bytes_per_s) : std::string(),
      compare ? Times(reference->expected_bytes_per_s, row.expected_bytes_per_s) : std::string()};
}

// The first two cells name the case and its bytes, the third the method.
constexpr std::size_t kTextColumns = 3;

std::string Aligned(std::span<const std::string> cells, std::span<const std::size_t> widths) {
  std::string line = "  ";
  for (std::size_t c = 0; c < cells.size(); ++c) {
    line += c < kTextColumns ? fmt::format("{:<{}}  ", cells[c], widths[c])
                             : fmt::format("{:>{}}  ", cells[c], widths[c]);
  }
  return line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
}

// Every case and method under one header; a case is named in its first row.
std::string OneTable(std::span<const Row> rows) {
  std::vector<std::vector<std::string>> lines{{"case", "bytes"}};
  lines[0].insert(lines[0].end(), kColumns.begin(), kColumns.end());
  for (const CaseTable& table : MakeTables(rows)) {
    for (std::size_t i = 0; i < table.rows.size(); ++i) {
      lines.push_back({i == 0 ? table.name : "", i == 0 ? table.bytes : ""});
      lines.back().insert(lines.back().end(), table.rows[i].begin(), table.rows[i].end());
    }
  }
  std::vector<std::size_t> widths(lines[0].size());
  for (const auto& line : lines) {
    for (std::size_t c = 0; c < line.size(); ++c) widths[c] = std::max(widths[c], line[c].size());
  }
  std::string text;
  for (const auto& line : lines) text += Aligned(line, widths);
  return text;
}

}  // namespace

std::span<const std::string_view> TableColumns() { return kColumns; }

std::string FormatSeconds(double seconds) {
  if (seconds < 0.001) return fmt::format("{:.0f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1e3);
  return fmt::format("{:.2f} s", seconds);
}

std::vector<CaseTable> MakeTables(std::span<const Row> rows) {
  std::vector<CaseTable> tables;
  std::string case_name;
  for (const Row& row : rows) {
    if (tables.empty() || row.case_name != case_name) {
      case_name = row.case_name;
      tables.push_back({case_name, FormatBytes(row.bytes), {}});
    }
    tables.back().rows.push_back(Cells(row, Reference(rows, case_name)));
  }
  return tables;
}

void PrintTable(const BenchResult& result, std::FILE* out) {
  for (const auto& [name, value] : result.facts) fmt::print(out, "{:<17} {}\n", name, value);
  fmt::print(out, "\n{}", OneTable(result.rows));
  fmt::print(out,
             "\nof devices: share of the summed bandwidth. layers at: worst time until layers 0..j "
             "are complete, over\ntheir share of the whole (1.00: in step). gain: how many times "
             "faster the pool is; arithmetic: how many\ntimes it should be on ideal devices. "
             "blocked: threads' time off the processor plus system time.\n");
  std::vector<std::string> told;
  for (const Row& row : result.rows) {
    if (row.note.empty() || row.method.ends_with("-put")) continue;
    if (std::find(told.begin(), told.end(), row.method) != told.end()) continue;
    told.push_back(row.method);
    fmt::print(out, "{}: {}\n", row.method, row.note);
  }
  for (const std::string& warning : result.warnings) fmt::print(out, "warning: {}\n", warning);
}

}  // namespace kvpool::bench
