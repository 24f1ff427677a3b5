// What the kernel says about a process' mappings: which memory can get other pages behind the same
// addresses.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace kvpool::mem {

enum class MappingKind : std::uint8_t {
  kPrivate,  // anonymous, of this process alone; never reserved hugepages
  kShared,   // tmpfs, a memfd or shared anonymous memory; never reserved hugepages
  kOther,    // reserved hugepages, files on drives, devices, what is not known
};

struct Mapping {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  MappingKind kind = MappingKind::kOther;
};

// The numbers of filesystems whose files are pages of memory and nothing else, as "major:minor".
using DeviceNumber = std::uint64_t;
constexpr DeviceNumber NumberOf(std::uint32_t major, std::uint32_t minor) {
  return std::uint64_t{major} << 32 | minor;
}
// The tmpfs mounts in the text of /proc/self/mountinfo.
std::vector<DeviceNumber> TmpfsNumbers(std::string_view mountinfo);

// The mappings in the text of /proc/self/maps, ascending. `tmpfs`: the filesystems of kShared.
std::vector<Mapping> ParseMappings(std::string_view maps, const std::vector<DeviceNumber>& tmpfs);

// The kind of all of [begin, end); kOther where kinds differ, or where nothing is mapped.
MappingKind KindOf(const std::vector<Mapping>& mappings, std::uintptr_t begin, std::uintptr_t end);

}  // namespace kvpool::mem
