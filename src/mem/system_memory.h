// What the kernel says about memory. Read below a root folder, so that tests bring their own files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "mem/region.h"

namespace kvpool::mem {

// The bytes of a "Name:   123 kB" line, as in /proc/meminfo, a node's meminfo and smaps. The first
// such line counts. Without a unit the number is taken as it is.
std::optional<std::uint64_t> FieldBytes(std::string_view text, std::string_view name);

// Where this process' memory controller stands.
struct CgroupPlace {
  std::string version;  // "v1" or "v2"
  std::filesystem::path mount;
  std::filesystem::path path;  // below the mount; "." at its top
};
// From the texts of /proc/self/cgroup and /proc/self/mountinfo.
std::vector<CgroupPlace> CgroupPlaces(std::string_view cgroup, std::string_view mountinfo);

std::uint64_t AvailableMemoryUnder(const std::filesystem::path& root);
std::vector<NodeMemory> MemoryNodesUnder(const std::filesystem::path& root);

// How much of [begin, end) lies on transparent hugepages, by the text of /proc/self/smaps; capped
// at the range's length. Mappings that the kernel merged with their neighbours count whole.
std::uint64_t TransparentHugeBytes(std::string_view smaps, std::uintptr_t begin,
                                   std::uintptr_t end);

// A whole file of proc or sysfs; empty when it cannot be read.
std::string ReadText(const std::filesystem::path& path);

}  // namespace kvpool::mem
