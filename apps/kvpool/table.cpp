#include "apps/kvpool/table.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace kvpool::cli {
namespace {

bool IsNumber(const std::string& cell) {
  return !cell.empty() && (cell[0] == '-' || (cell[0] >= '0' && cell[0] <= '9'));
}

}  // namespace

std::FILE* PeopleStream(const std::string& json_file) { return json_file == "-" ? stderr : stdout; }

Table::Table(std::vector<std::string> titles) { lines_.push_back(std::move(titles)); }

void Table::Add(std::vector<std::string> cells) {
  KVPOOL_CHECK(cells.size() == lines_.front().size());
  lines_.push_back(std::move(cells));
}

void Table::Print(std::FILE* out) const {
  const std::size_t columns = lines_.front().size();
  std::vector<std::size_t> widths(columns, 0);
  std::vector<bool> right(columns, lines_.size() > 1);
  for (const auto& line : lines_) {
    for (std::size_t c = 0; c < columns; ++c) {
      widths[c] = std::max(widths[c], line[c].size());
      if (&line != &lines_.front()) right[c] = right[c] && IsNumber(line[c]);
    }
  }
  for (const auto& line : lines_) {
    std::string text;
    for (std::size_t c = 0; c < columns; ++c) {
      if (c > 0) text += "  ";
      text += right[c] ? fmt::format("{:>{}}", line[c], widths[c])
                       : fmt::format("{:<{}}", line[c], widths[c]);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    fmt::print(out, "{}\n", text);
  }
}

}  // namespace kvpool::cli
