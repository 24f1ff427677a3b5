// Progress of long work, on stderr.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kvpool::cli {

// One line that is rewritten on a terminal; elsewhere a line every few seconds, and none for work
// that is done before the first is due. Threads: one at a time.
class Progress {
 public:
  Progress();
  ~Progress();  // clears the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `fraction` of the whole, 0..1; negative where unknown.
  void Show(std::string_view what, double fraction);

  double elapsed_s() const;

  // Takes the line away so that something else can be printed.
  void Clear();

 private:
  bool terminal_;
  std::int64_t started_ns_;
  std::int64_t shown_ns_;
  bool visible_ = false;
};

}  // namespace kvpool::cli
