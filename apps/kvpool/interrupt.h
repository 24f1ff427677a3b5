// Temporary files that are gone afterwards, however the program ends short of SIGKILL.
#pragma once

#include <filesystem>

#include "kvpool/result.h"

namespace kvpool::cli {

// From now on SIGINT, SIGTERM and SIGHUP remove every TemporaryPath and end the process as the
// signal would have. Call once, before any other thread starts: all threads inherit the mask.
void CatchInterrupts();

// Removes a file or a folder with everything in it at the end of its life or at an interrupt.
// Threads: one.
class TemporaryPath {
 public:
  // `path` need not exist yet.
  explicit TemporaryPath(std::filesystem::path path);
  ~TemporaryPath();
  TemporaryPath(TemporaryPath&& other) noexcept;
  TemporaryPath& operator=(TemporaryPath&&) = delete;

  // A new folder in `parent`, which is made where missing (and stays).
  static Result<TemporaryPath> MakeFolder(const std::filesystem::path& parent);

  const std::filesystem::path& path() const { return path_; }
  // The path is to stay after all.
  void Keep();

 private:
  std::filesystem::path path_;  // empty: nothing to remove
};

}  // namespace kvpool::cli
