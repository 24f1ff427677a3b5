#include "mem/mappings.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace kvpool::mem {
namespace {

// Cuts the front of `text` off, up to `separator`.
std::string_view Cut(std::string_view& text, char separator) {
  const auto end = std::min(text.find(separator), text.size());
  const auto part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

template <class Number>
bool Read(std::string_view text, int base, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return error == std::errc{} && end == text.data() + text.size();
}

bool ReadDevice(std::string_view text, int base, DeviceNumber& number) {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  std::string_view rest = text;
  if (!Read(Cut(rest, ':'), base, major) || !Read(rest, base, minor)) return false;
  number = NumberOf(major, minor);
  return true;
}

// "7f..-7f.. rw-p 00000000 00:00 0   [heap]"
bool ReadMapping(std::string_view line, const std::vector<DeviceNumber>& tmpfs, Mapping& mapping) {
  std::string_view addresses = Cut(line, ' ');
  const std::string_view rights = Cut(line, ' ');
  Cut(line, ' ');  // the offset
  const std::string_view device = Cut(line, ' ');
  const std::string_view inode = Cut(line, ' ');
  DeviceNumber number = 0;
  std::uint64_t file = 0;
  if (!Read(Cut(addresses, '-'), 16, mapping.begin) || !Read(addresses, 16, mapping.end) ||
      rights.size() != 4 || !ReadDevice(device, 16, number) || !Read(inode, 10, file)) {
    return false;
  }
  const bool writable = rights[1] == 'w';
  const bool is_private = rights[3] == 'p';
  const bool special = line.find("[v") != line.npos;  // vdso, vvar, vsyscall
  mapping.kind = MappingKind::kOther;
  if (!writable || special) return true;
  if (is_private && file == 0 && number == 0) mapping.kind = MappingKind::kPrivate;
  if (!is_private && file != 0 && std::find(tmpfs.begin(), tmpfs.end(), number) != tmpfs.end()) {
    mapping.kind = MappingKind::kShared;
  }
  return true;
}

}  // namespace

std::vector<DeviceNumber> TmpfsNumbers(std::string_view mountinfo) {
  std::vector<DeviceNumber> numbers;
  while (!mountinfo.empty()) {
    std::string_view line = Cut(mountinfo, '\n');
    const auto type = line.find(" - ");
    if (type == line.npos || !line.substr(type + 3).starts_with("tmpfs ")) continue;
    Cut(line, ' ');  // the mount's id
    Cut(line, ' ');  // its parent's
    DeviceNumber number = 0;
    if (ReadDevice(Cut(line, ' '), 10, number)) numbers.push_back(number);
  }
  return numbers;
}

std::vector<Mapping> ParseMappings(std::string_view maps, const std::vector<DeviceNumber>& tmpfs) {
  std::vector<Mapping> mappings;
  while (!maps.empty()) {
    Mapping mapping;
    if (ReadMapping(Cut(maps, '\n'), tmpfs, mapping)) mappings.push_back(mapping);
  }
  return mappings;
}

MappingKind KindOf(const std::vector<Mapping>& mappings, std::uintptr_t begin, std::uintptr_t end) {
  auto at = std::upper_bound(
      mappings.begin(), mappings.end(), begin,
      [](std::uintptr_t address, const Mapping& mapping) { return address < mapping.end; });
  if (at == mappings.end() || begin >= end) return MappingKind::kOther;
  const MappingKind kind = at->kind;
  for (; begin < end; ++at) {
    if (at == mappings.end() || at->begin > begin || at->kind != kind) return MappingKind::kOther;
    begin = at->end;
  }
  return kind;
}

}  // namespace kvpool::mem
