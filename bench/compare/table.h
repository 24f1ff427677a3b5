// Table: the rows as text for people, shared by the terminal and the report.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "bench/compare/bench.h"

namespace kvpool::bench {

struct CaseTable {
  std::string name;                            // "prefix=25%"
  std::string bytes;                           // "512 MiB"
  std::vector<std::vector<std::string>> rows;  // as many cells as TableColumns(); "" where absent
};

// The first names the method.
std::span<const std::string_view> TableColumns();
std::vector<CaseTable> MakeTables(std::span<const Row> rows);

// "0.488 s", "12.3 s", "850 us".
std::string FormatSeconds(double seconds);

}  // namespace kvpool::bench
