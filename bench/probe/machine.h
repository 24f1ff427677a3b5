// What this machine has: drives and filesystems.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kvpool/result.h"

namespace kvpool::probe {

struct Drive {
  std::string name;            // "nvme0n1"
  std::filesystem::path path;  // "/dev/nvme0n1"
  std::string model;           // empty where the kernel knows none
  std::uint64_t bytes = 0;
  int numa_node = -1;
  bool partitioned = false;
  bool held = false;                          // by device mapper, RAID, ...
  std::vector<std::filesystem::path> mounts;  // of it and of its partitions

  bool in_use() const { return partitioned || held || !mounts.empty(); }
};

// Where to look; tests look elsewhere.
struct MachineFiles {
  std::filesystem::path sys_block = "/sys/block";
  std::filesystem::path mountinfo = "/proc/self/mountinfo";
};

// Drives that have a size, by name. Compressed-memory and RAM disks are left out.
std::vector<Drive> Drives(const MachineFiles& files = {});

struct Filesystem {
  std::string type;    // "ext4", "tmpfs"
  std::string source;  // "/dev/vda"
  std::filesystem::path mount;
  std::uint64_t free_bytes = 0;  // for this user
};

// The filesystem that holds `path`, which must exist.
Result<Filesystem> FilesystemOf(const std::filesystem::path& path, const MachineFiles& files = {});

// Whether files in `folder` can be read and written past the page cache.
bool TakesDirect(const std::filesystem::path& folder);

}  // namespace kvpool::probe
