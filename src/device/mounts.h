// What is mounted, by proc_pid_mountinfo(5).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kvpool::device {

struct Mount {
  std::string device;  // "254:0"
  std::filesystem::path point;
  std::string type;    // "ext4"
  std::string source;  // "/dev/vda"
};

// In the order of mounting. What is not understood is left out.
std::vector<Mount> Mounts(const std::filesystem::path& mountinfo = "/proc/self/mountinfo");

}  // namespace kvpool::device
