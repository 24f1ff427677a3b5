// What fio says of one job.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace kvpool::bench {

struct FioFigures {
  std::uint64_t bytes = 0;
  double bytes_per_s = 0;
  double cpu_s = 0;  // user and system, of the job's thread
};
// From `fio --output-format=json`.
std::optional<FioFigures> ParseFio(std::string_view text);

}  // namespace kvpool::bench
