// fio: the yardstick for what drives give.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvpool/result.h"

namespace kvpool::bench {

inline constexpr std::uint32_t kFioDepth = 32;

struct FioRun {
  std::vector<std::string> targets;  // files or drives, all read at once, a thread each
  bool passthrough = false;          // io_uring_cmd on NVMe character devices; else io_uring
  std::uint64_t bytes = 0;           // of each target, from its start
  std::uint32_t loops = 1;
  double seconds = 0;  // read over and over for so long instead; 0: `loops` times
};

// Of all targets together.
struct FioFigures {
  std::uint64_t bytes = 0;
  double bytes_per_s = 0;
  double cpu_s = 0;        // user and system, of the jobs' threads
  bool hugepages = false;  // its buffers had reserved ones, else transparent ones
};

// kUnsupported where fio is not installed.
Result<void> NeedFio();
// Sequential 1 MiB reads, O_DIRECT, depth 32. kUnsupported, kIoError.
Result<FioFigures> RunFio(const FioRun& run);

// From `fio --output-format=json`.
std::optional<FioFigures> ParseFio(std::string_view text);

}  // namespace kvpool::bench
