#include "mem/system_memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>

namespace kvpool::mem {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

template <class Visit>
void ForEachLine(std::string_view text, Visit&& visit) {
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    visit(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

std::optional<std::uint64_t> Number(std::string_view text, int base = 10) {
  const auto begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(text.data() + begin, text.data() + text.size(), value, base);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

// A counter of one cgroup; "max" and whatever else is no number mean no limit.
std::uint64_t Counter(const fs::path& file) { return Number(ReadText(file)).value_or(kUnlimited); }

// "name value" lines of memory.stat.
std::uint64_t Stat(const fs::path& file, std::string_view name) {
  std::uint64_t value = 0;
  ForEachLine(ReadText(file), [&](std::string_view line) {
    if (line.starts_with(name) && line.size() > name.size() && line[name.size()] == ' ') {
      value = Number(line.substr(name.size())).value_or(0);
    }
  });
  return value;
}

// What one cgroup leaves. File cache that the kernel would give up counts as free.
std::uint64_t RemainingIn(const fs::path& folder, bool v2) {
  const auto limit = Counter(folder / (v2 ? "memory.max" : "memory.limit_in_bytes"));
  if (limit == kUnlimited) return kUnlimited;
  auto used = Counter(folder / (v2 ? "memory.current" : "memory.usage_in_bytes"));
  if (used == kUnlimited) used = 0;
  const auto cache = Stat(folder / "memory.stat", v2 ? "inactive_file" : "total_inactive_file");
  used -= std::min(used, cache);
  return limit - std::min(limit, used);
}

std::vector<std::string> Words(std::string_view line) {
  std::istringstream stream{std::string(line)};
  return {std::istream_iterator<std::string>(stream), {}};
}

// Is `wanted` one of the comma-separated names?
bool Lists(std::string_view names, std::string_view wanted) {
  while (!names.empty()) {
    const auto end = std::min(names.find(','), names.size());
    if (names.substr(0, end) == wanted) return true;
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  return false;
}

struct CgroupMount {
  std::string root;
  std::string point;
  bool v2 = false;
};

std::optional<CgroupMount> MemoryMount(std::string_view mountinfo_line) {
  const auto words = Words(mountinfo_line);
  const auto dash = std::find(words.begin(), words.end(), "-");
  if (words.size() < 6 || words.end() - dash < 2) return std::nullopt;
  if (dash[1] == "cgroup2") return CgroupMount{words[3], words[4], true};
  const bool memory = dash[1] == "cgroup" && Lists(words.back(), "memory");
  if (!memory) return std::nullopt;
  return CgroupMount{words[3], words[4], false};
}

// The process' path as seen from the mount: a container mounts its own cgroup as the top.
fs::path BelowRoot(std::string_view path, std::string_view root) {
  if (root != "/") {
    const bool below =
        path.starts_with(root) && (path.size() == root.size() || path[root.size()] == '/');
    path = below ? path.substr(root.size()) : std::string_view{};
  }
  while (path.starts_with('/')) path.remove_prefix(1);
  return path.empty() || path.starts_with("..") ? fs::path(".") : fs::path(path);
}

}  // namespace

std::string ReadText(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::optional<std::uint64_t> FieldBytes(std::string_view text, std::string_view name) {
  const std::string wanted = std::string(name) + ":";
  std::optional<std::uint64_t> bytes;
  ForEachLine(text, [&](std::string_view line) {
    const auto at = line.find(wanted);
    if (bytes || at == std::string_view::npos || (at > 0 && line[at - 1] != ' ')) return;
    bytes = Number(line.substr(at + wanted.size()));
    if (bytes && line.ends_with("kB")) *bytes *= 1024;
  });
  return bytes;
}

std::vector<CgroupPlace> CgroupPlaces(std::string_view cgroup, std::string_view mountinfo) {
  std::vector<CgroupMount> mounts;
  ForEachLine(mountinfo, [&](std::string_view line) {
    if (auto mount = MemoryMount(line)) mounts.push_back(std::move(*mount));
  });
  std::vector<CgroupPlace> places;
  ForEachLine(cgroup, [&](std::string_view line) {  // "4:memory:/a/b", v2: "0::/a/b"
    const auto first = line.find(':');
    const auto second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) return;
    const auto controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && !Lists(controllers, "memory")) return;
    for (const auto& mount : mounts) {
      if (mount.v2 != v2) continue;
      places.push_back(
          {v2 ? "v2" : "v1", mount.point, BelowRoot(line.substr(second + 1), mount.root)});
      break;
    }
  });
  return places;
}

std::uint64_t AvailableMemoryUnder(const fs::path& root) {
  std::uint64_t available = FieldBytes(ReadText(root / "proc/meminfo"), "MemAvailable").value_or(0);
  for (const auto& place :
       CgroupPlaces(ReadText(root / "proc/self/cgroup"), ReadText(root / "proc/self/mountinfo"))) {
    const fs::path top = root / place.mount.relative_path();
    for (fs::path below = place.path;; below = below.parent_path()) {
      available = std::min(available, RemainingIn(top / below, place.version == "v2"));
      if (below.empty() || below == ".") break;
    }
  }
  return available;
}

std::vector<NodeMemory> MemoryNodesUnder(const fs::path& root) {
  std::vector<NodeMemory> nodes;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root / "sys/devices/system/node", error)) {
    const std::string name = entry.path().filename();
    const auto number = name.starts_with("node") ? Number(name.substr(4)) : std::nullopt;
    if (!number) continue;
    const std::string text = ReadText(entry.path() / "meminfo");
    const auto total = FieldBytes(text, "MemTotal").value_or(0);
    if (total == 0) continue;
    const auto free = FieldBytes(text, "MemFree").value_or(0) +
                      FieldBytes(text, "Active(file)").value_or(0) +
                      FieldBytes(text, "Inactive(file)").value_or(0);
    nodes.push_back({static_cast<int>(*number), total, free});
  }
  std::sort(nodes.begin(), nodes.end(), [](auto& a, auto& b) { return a.node < b.node; });
  if (nodes.empty()) {
    const std::string text = ReadText(root / "proc/meminfo");
    nodes.push_back({0, FieldBytes(text, "MemTotal").value_or(0),
                     FieldBytes(text, "MemAvailable").value_or(0)});
  }
  return nodes;
}

std::uint64_t TransparentHugeBytes(std::string_view smaps, std::uintptr_t begin,
                                   std::uintptr_t end) {
  std::uint64_t huge = 0;
  bool inside = false;
  ForEachLine(smaps, [&](std::string_view line) {
    const auto dash = line.find('-');
    const auto colon = line.find(':');
    if (dash != line.npos && dash < colon && dash < line.find(' ')) {
      const auto from = Number(line.substr(0, dash), 16);
      const auto to = Number(line.substr(dash + 1), 16);
      inside = from && to && *from < end && *to > begin;
    } else if (inside) {
      huge += FieldBytes(line, "AnonHugePages").value_or(0);
      huge += FieldBytes(line, "ShmemPmdMapped").value_or(0);
    }
  });
  return std::min<std::uint64_t>(huge, end - begin);
}

std::uint64_t AvailableMemory() { return AvailableMemoryUnder("/"); }
std::vector<NodeMemory> MemoryNodes() { return MemoryNodesUnder("/"); }

}  // namespace kvpool::mem
