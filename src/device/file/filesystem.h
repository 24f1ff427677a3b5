// What the filesystem below a file is, and whether it lets transfers pass the page cache.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace kvpool::device {

struct Filesystem {
  std::string name;  // "ext4", "tmpfs", or its number where it is unknown here
  std::uint64_t free_bytes = 0;
};

// Of an open file or folder.
Filesystem FilesystemOf(int fd);

// The name behind statfs's f_type; a hexadecimal number where it is unknown.
std::string FilesystemName(std::uint64_t type);

}  // namespace kvpool::device
