// Scratch: the run's folder, which goes with it, and what the folder's filesystem is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "kvpool/result.h"

namespace kvpool::bench {

// A new folder inside a given one, removed with all it holds by the destructor. Folders that a
// killed run of this program left behind are removed first.
class Scratch {
 public:
  static Result<Scratch> Make(const std::filesystem::path& dir);
  Scratch(Scratch&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch();

  const std::filesystem::path& path() const { return path_; }

 private:
  explicit Scratch(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

struct Filesystem {
  std::string type;              // "ext4", "xfs", "tmpfs", or its number
  std::uint64_t free_bytes = 0;  // to this user
  bool in_memory = false;        // its pages are memory: nothing can be dropped from a cache
};
Result<Filesystem> FilesystemOf(const std::filesystem::path& path);

// Takes the file's pages out of the page cache. False where that cannot be (in memory).
bool DropFromPageCache(const std::filesystem::path& file);

}  // namespace kvpool::bench
