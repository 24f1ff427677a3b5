// Other people's programs: run, and what they said.
#pragma once

#include <string>
#include <vector>

#include "kvpool/result.h"

namespace kvpool::bench {

struct Ended {
  int exit_code = -1;  // -1: killed
  double cpu_s = 0;    // user and system
  std::string output;  // standard output; its errors go where ours go
};

// Waits for it. arguments[0] is looked for in PATH; `setting` ("NAME=value", or empty) is added to
// its environment. kUnsupported: it cannot be started.
Result<Ended> RunProgram(std::vector<std::string> arguments, const std::string& setting = {});

}  // namespace kvpool::bench
