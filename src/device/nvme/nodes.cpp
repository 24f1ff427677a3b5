#include "device/nvme/nodes.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cctype>

#include "base/limits.h"
#include "device/sysfs.h"

namespace kvpool::device {
namespace {

namespace fs = std::filesystem;

// "<prefix>0n1"
bool IsNamespace(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return false;
  name.remove_prefix(prefix.size());
  const auto digits = [&name] {
    std::size_t count = 0;
    while (count < name.size() && std::isdigit(static_cast<unsigned char>(name[count])) != 0)
      ++count;
    name.remove_prefix(count);
    return count > 0;
  };
  if (!digits() || !name.starts_with("n")) return false;
  name.remove_prefix(1);
  return digits() && name.empty();
}

tl::unexpected<Error> NotANamespace(const std::string& path) {
  return Fail(Status::kInvalid,
              fmt::format("{} is not an NVMe namespace: name its character device, such as "
                          "/dev/ng0n1, or set the device's kind to block or file",
                          path));
}

}  // namespace

Result<NvmeNodes> FindNvmeNodes(const NodeId& id, const std::string& path, const fs::path& sys) {
  const bool character = S_ISCHR(id.mode);
  if (!character && !S_ISBLK(id.mode)) return NotANamespace(path);
  std::error_code error;
  const fs::path entry = fs::canonical(sys / "dev" / (character ? "char" : "block") /
                                           fmt::format("{}:{}", major(id.device), minor(id.device)),
                                       error);
  const std::string name = error ? "" : entry.filename().string();
  if (!character && fs::exists(entry / "partition", error)) {
    return Fail(
        Status::kInvalid,
        fmt::format("{} is a partition, and passthrough reaches whole namespaces only: name "
                    "the drive, or set the device's kind to block",
                    path));
  }
  if (!IsNamespace(name, character ? "ng" : "nvme")) return NotANamespace(path);

  const std::string number = name.substr(character ? 2 : 4);
  NvmeNodes nodes;
  nodes.character = "ng" + number;
  const fs::path folder = entry.parent_path();
  if (!fs::exists(folder / nodes.character, error)) {
    return Fail(
        Status::kUnsupported,
        fmt::format("{} has no character device, which passthrough needs: use Linux 5.19 or "
                    "later, or set the device's kind to block",
                    path));
  }
  const fs::path block = folder / ("nvme" + number);
  if (fs::exists(block / "queue", error)) nodes.block = "nvme" + number;
  nodes.numa_node = ReadNumber(folder / "numa_node", -1);
  nodes.max_bytes = ReadNumber<std::uint64_t>(block / "queue/max_hw_sectors_kb", 0) * kKiB;
  nodes.max_segments = ReadNumber<std::uint32_t>(block / "queue/max_segments", 0);
  nodes.polls = ReadNumber(block / "queue/io_poll", 0) != 0;
  return nodes;
}

std::string BlockNodeOf(const std::string& path) {
  struct stat stat{};
  if (::stat(path.c_str(), &stat) != 0 || !S_ISCHR(stat.st_mode)) return path;
  const auto nodes = FindNvmeNodes({stat.st_mode, stat.st_rdev}, path);
  return nodes && !nodes->block.empty() ? "/dev/" + nodes->block : path;
}

}  // namespace kvpool::device
