#include "bench/probe/machine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

namespace kvpool::probe {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSectorBytes = 512;  // the unit of /sys/block/*/size, whatever the drive

std::string ReadLine(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  line.erase(line.find_last_not_of(" \n") + 1);
  return line;
}

template <class Number>
Number ReadNumber(const fs::path& file, Number otherwise) {
  const std::string line = ReadLine(file);
  Number number = otherwise;
  std::from_chars(line.data(), line.data() + line.size(), number);
  return number;
}

struct Mount {
  std::string device;  // "254:0"
  fs::path point;
  std::string type;
  std::string source;
};

// The kernel writes blanks in a path as \040 and the like.
std::string Unescape(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    int code = 0;
    const bool escaped = text[i] == '\\' && i + 3 < text.size() &&
                         std::from_chars(&text[i + 1], &text[i + 4], code, 8).ptr == &text[i + 4];
    plain += escaped ? static_cast<char>(code) : text[i];
    if (escaped) i += 3;
  }
  return plain;
}

// Fields of proc_pid_mountinfo(5): id parent major:minor root point options [tags...] - type source
std::optional<Mount> ParseMount(const std::string& line) {
  std::istringstream in(line);
  std::string id, parent, root, point, field;
  Mount mount;
  in >> id >> parent >> mount.device >> root >> point;
  while (in >> field && field != "-") continue;
  in >> mount.type >> mount.source;
  if (!in && mount.source.empty()) return std::nullopt;
  mount.point = Unescape(point);
  mount.source = Unescape(mount.source);
  return mount;
}

std::vector<Mount> Mounts(const fs::path& mountinfo) {
  std::vector<Mount> mounts;
  std::ifstream in(mountinfo);
  for (std::string line; std::getline(in, line);) {
    if (auto mount = ParseMount(line)) mounts.push_back(std::move(*mount));
  }
  return mounts;
}

void AddMounts(const fs::path& sys, const std::vector<Mount>& mounts, Drive& drive) {
  const std::string device = ReadLine(sys / "dev");
  for (const Mount& mount : mounts) {
    if (mount.device == device) drive.mounts.push_back(mount.point);
  }
}

bool HasEntries(const fs::path& folder) {
  std::error_code error;
  const fs::directory_iterator entries(folder, error);
  return !error && entries != fs::directory_iterator{};
}

Drive ReadDrive(const fs::path& sys, const std::vector<Mount>& mounts) {
  Drive drive;
  drive.name = sys.filename().string();
  drive.path = fs::path("/dev") / drive.name;
  drive.model = ReadLine(sys / "device/model");
  drive.bytes = ReadNumber<std::uint64_t>(sys / "size", 0) * kSectorBytes;
  drive.numa_node = ReadNumber<int>(sys / "device/numa_node", -1);
  if (drive.numa_node < 0) drive.numa_node = ReadNumber<int>(sys / "device/device/numa_node", -1);
  drive.held = HasEntries(sys / "holders");
  AddMounts(sys, mounts, drive);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(sys, error)) {
    if (!fs::exists(entry.path() / "partition", error)) continue;
    drive.partitioned = true;
    drive.held = drive.held || HasEntries(entry.path() / "holders");
    AddMounts(entry.path(), mounts, drive);
  }
  std::sort(drive.mounts.begin(), drive.mounts.end());
  return drive;
}

}  // namespace

std::vector<Drive> Drives(const MachineFiles& files) {
  const std::vector<Mount> mounts = Mounts(files.mountinfo);
  std::vector<Drive> drives;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(files.sys_block, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("zram") || name.starts_with("ram")) continue;
    Drive drive = ReadDrive(entry.path(), mounts);
    if (drive.bytes > 0) drives.push_back(std::move(drive));
  }
  std::sort(drives.begin(), drives.end(),
            [](const Drive& a, const Drive& b) { return a.name < b.name; });
  return drives;
}

Result<Filesystem> FilesystemOf(const fs::path& path, const MachineFiles& files) {
  struct stat status{};
  struct statvfs space{};
  if (stat(path.c_str(), &status) != 0 || statvfs(path.c_str(), &space) != 0) {
    return Fail(Status::kInvalid,
                fmt::format("cannot look at {} ({}): name a folder or a block device that exists",
                            path.string(), std::strerror(errno)),
                errno);
  }
  Filesystem found;
  found.free_bytes = std::uint64_t{space.f_bavail} * space.f_frsize;
  const std::string device = fmt::format("{}:{}", major(status.st_dev), minor(status.st_dev));
  for (const Mount& mount : Mounts(files.mountinfo)) {
    if (mount.device != device) continue;
    found.type = mount.type;
    found.source = mount.source;
    found.mount = mount.point;
  }
  return found;
}

bool TakesDirect(const fs::path& folder) {
  std::string name = (folder / "kvpool-direct-XXXXXX").string();
  const int fd = mkostemp(name.data(), O_CLOEXEC | O_DIRECT);
  // Where O_DIRECT is refused, the file may have been made all the same.
  unlink(name.c_str());
  if (fd < 0) return false;
  close(fd);
  return true;
}

}  // namespace kvpool::probe
