// The two ways to replay a trace.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kvpool/result.h"

namespace kvpool::cli {

struct ReplayOptions {
  std::string trace;  // a file; "-" is standard input
  bool skip_bad_lines = false;
  std::uint64_t limit = 0;  // requests; 0: all
  std::string json;

  bool index_only = false;
  std::vector<std::string> policies{"default"};
  std::vector<std::uint64_t> capacity_blocks;
  std::vector<std::string> admissions{"all"};  // "all", "second-sight"

  std::filesystem::path pool;
  std::uint64_t bytes_per_block = 64 * 1024;
  double speed = 0;
};

// Which blocks would be hits; no byte of KV is moved.
Result<void> ReplayOnIndex(const ReplayOptions& options);

// Through a real pool: matches, gets, verifies and puts.
Result<void> ReplayOnPool(const ReplayOptions& options);

// What error messages call the trace, and its path for opening.
std::filesystem::path TracePath(const ReplayOptions& options);

// kInvalid: there was nothing to replay.
tl::unexpected<Error> NoRequest(const ReplayOptions& options);

// Says on stderr how many bad lines were left out, if any.
void TellSkipped(std::uint64_t lines, const std::string& first);

}  // namespace kvpool::cli
