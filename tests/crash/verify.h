// After a crash: what is there, and whether it should be.
#pragma once

#include <cstdint>
#include <string>

#include "kvpool/pool.h"
#include "tests/crash/log.h"

namespace kvpool::crash {

struct Verdict {
  std::uint64_t checked = 0;  // blocks that came back
  std::uint64_t wrong = 0;    // with bytes that nobody put, or older than promised
  std::uint64_t durable = 0;  // blocks that have to be there
  std::uint64_t durable_missing = 0;
  std::uint64_t aged = 0;  // put long enough before the end and not dropped since
  std::uint64_t aged_warm = 0;
  std::uint64_t torn = 0;  // units whose checksum did not verify
};

struct Judgement {
  std::int64_t age_ms = 0;  // what counts as long before
  bool flip = false;        // a control: a bit of each block is wrong before it is judged
};

// Reads every key of the log from the pool. Names what is wrong or missing on stderr. `met`: the
// versions that are there.
Verdict Verify(Pool& pool, const History& history, const Judgement& how, History& met);

// The log with which the next round starts: what may be met, and what is there.
void WriteNextLog(const std::string& path, const History& history, const History& met);

}  // namespace kvpool::crash
