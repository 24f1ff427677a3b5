#include "device/mounts.h"

#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>

namespace kvpool::device {
namespace {

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

// id parent major:minor root point options [tags...] - type source
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

}  // namespace

std::vector<Mount> Mounts(const std::filesystem::path& mountinfo) {
  std::vector<Mount> mounts;
  std::ifstream in(mountinfo);
  for (std::string line; std::getline(in, line);) {
    if (auto mount = ParseMount(line)) mounts.push_back(std::move(*mount));
  }
  return mounts;
}

}  // namespace kvpool::device
