// Temporary files that are gone afterwards, however the program ends short of SIGKILL.
#pragma once

#include <filesystem>
#include <vector>

#include "kvpool/result.h"

namespace kvpool::cli {

// From now on SIGINT, SIGTERM and SIGHUP remove every TemporaryPath and end the process as the
// signal would have. Call once, before any other thread starts: all threads inherit the mask.
void CatchInterrupts();

// Removes every TemporaryPath, for an end without unwinding. Waits for nothing and allocates
// little: memory may be what ran out.
void RemoveTemporaryPaths();

// Removes a file or a folder with everything in it at the end of its life or at an interrupt.
// Threads: one.
class TemporaryPath {
 public:
  // `path` need not exist yet.
  explicit TemporaryPath(std::filesystem::path path);
  ~TemporaryPath();
  TemporaryPath(TemporaryPath&& other) noexcept;
  TemporaryPath& operator=(TemporaryPath&&) = delete;

  // A new folder in `parent`, which is made where missing and then goes with it. Says on stderr
  // where a killed run has left one.
  static Result<TemporaryPath> MakeFolder(const std::filesystem::path& parent);

  const std::filesystem::path& path() const { return path_; }
  // The path is to stay after all.
  void Keep();

 private:
  TemporaryPath() = default;
  void AddParents(std::vector<std::filesystem::path> folders);
  void RemoveParents();

  std::vector<std::filesystem::path> parents_;  // made for it, the deepest first
  std::filesystem::path path_;                  // empty: nothing to remove
};

}  // namespace kvpool::cli
