// The side log of the crash test: what the loader was about to do, and what it was told.
//
// One event a line, appended by one write, so that a kill leaves whole lines (the last one may be
// cut and is then ignored):
//   M roomy|tight     what kind of round follows: without evictions, or full of them
//   T ms              the time, a few times a second
//   A key floor last  from rounds before: versions floor..last may be met
//   W key version     met when the pool was opened
//   P key version     about to be put
//   V key version ms  the put completed
//   D key version     acknowledged as durable
//   X key             about to be dropped
//   H key             held by a lease: it cannot be evicted
//   R key             about to be let go
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace kvpool::crash {

std::int64_t NowMs();

// Threads: any.
class Log {
 public:
  explicit Log(const std::string& path);  // appends; ends the process where it cannot
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;
  void Write(const std::string& lines);

 private:
  int fd_ = -1;
};

struct KeyState {
  std::uint64_t floor = 0;    // the last version acknowledged as durable
  std::uint64_t last = 0;     // the last version that was about to be put
  std::uint64_t visible = 0;  // as far as is known; 0: not
  std::int64_t visible_ms = 0;
  bool from_before = false;  // met when the pool was opened, and nothing since
  bool durable = false;      // acknowledged and not dropped
  bool held = false;
};

struct History {
  bool tight = false;
  std::int64_t end_ms = 0;  // of the last event
  std::map<std::string, KeyState> keys;
};

History ReadLog(const std::string& path);  // nothing where there is no file

}  // namespace kvpool::crash
