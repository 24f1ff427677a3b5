// The filesystems of this machine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "kvpool/result.h"

namespace kvpool::probe {

struct Filesystem {
  std::string type;    // "ext4", "tmpfs"
  std::string source;  // "/dev/vda"
  std::filesystem::path mount;
  std::uint64_t free_bytes = 0;  // for this user
};

// The filesystem that holds `path`, which must exist.
Result<Filesystem> FilesystemOf(const std::filesystem::path& path);

// Whether files in `folder` can be read and written past the page cache.
bool TakesDirect(const std::filesystem::path& folder);

}  // namespace kvpool::probe
