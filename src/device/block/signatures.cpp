#include "device/block/signatures.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <vector>

#include "device/label.h"

namespace kvpool::device {
namespace {

using namespace std::string_view_literals;

struct Signature {
  std::uint64_t offset;
  std::string_view magic;
  std::string_view name;
};

// Where libblkid and file(1) look, too.
constexpr std::array kSignatures{
    Signature{0, "KVPOOLDV"sv, "a kvpool label"},
    Signature{1080, "\x53\xef"sv, "an ext filesystem"},
    Signature{0, "XFSB"sv, "an xfs filesystem"},
    Signature{65600, "_BHRfS_M"sv, "a btrfs filesystem"},
    Signature{1024, "\x10\x20\xf5\xf2"sv, "an f2fs filesystem"},
    Signature{3, "NTFS    "sv, "an NTFS filesystem"},
    Signature{512, "EFI PART"sv, "a GPT partition table"},
    Signature{4096, "EFI PART"sv, "a GPT partition table"},
    Signature{510, "\x55\xaa"sv, "an MBR partition table or a boot sector"},
    Signature{24, "LVM2 001"sv, "an LVM volume"},
    Signature{536, "LVM2 001"sv, "an LVM volume"},
    Signature{1048, "LVM2 001"sv, "an LVM volume"},
    Signature{1560, "LVM2 001"sv, "an LVM volume"},
    Signature{0, "LUKS\xba\xbe"sv, "a LUKS volume"},
    Signature{4086, "SWAPSPACE2"sv, "a swap area"},
    Signature{0, "\xfc\x4e\x2b\xa9"sv, "an md array member"},
    Signature{4096, "\xfc\x4e\x2b\xa9"sv, "an md array member"},
    Signature{4120, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"sv,
              "a bcache device"},
};

constexpr std::size_t kZfsRing = 128 * kKiB;
constexpr auto kZfs = "\x0c\xb1\xba\x00\x00\x00\x00\x00"sv;

constexpr std::size_t kHeadBytes = 256 * kKiB;
constexpr std::size_t kTailBytes = 128 * kKiB;  // md 0.90 lies 64 to 128 KiB before the end

void Add(std::vector<std::string_view>& found, std::string_view name) {
  if (std::find(found.begin(), found.end(), name) == found.end()) found.push_back(name);
}

void FindInHead(std::span<const std::byte> head, std::vector<std::string_view>& found) {
  for (const auto& [offset, magic, name] : kSignatures) {
    if (offset + magic.size() > head.size()) continue;
    if (std::memcmp(head.data() + offset, magic.data(), magic.size()) == 0) Add(found, name);
  }
  // ZFS has a ring of records; any of them may be the one in use.
  for (std::size_t at = kZfsRing; at + kZfs.size() <= head.size(); at += 1024) {
    if (std::memcmp(head.data() + at, kZfs.data(), kZfs.size()) == 0)
      Add(found, "a ZFS pool member");
  }
}

// The spare GPT in the last sector and md's old superblocks: what survives a wiped start.
void FindInTail(std::span<const std::byte> tail, std::vector<std::string_view>& found) {
  constexpr auto kMd = "\xfc\x4e\x2b\xa9"sv;
  constexpr auto kGpt = "EFI PART"sv;
  for (const std::size_t sector : {512u, 4096u}) {
    if (std::memcmp(tail.data() + tail.size() - sector, kGpt.data(), kGpt.size()) == 0) {
      Add(found, "a GPT partition table");
    }
  }
  for (std::size_t at = 0; at + 4096 <= tail.size(); at += 4096) {
    if (std::memcmp(tail.data() + at, kMd.data(), kMd.size()) == 0)
      Add(found, "an md array member");
  }
}

}  // namespace

std::string FindSignatures(std::uint64_t drive_bytes, const ReadAt& read) {
  std::vector<std::string_view> found;
  std::vector<std::byte> head(std::min<std::uint64_t>(kHeadBytes, drive_bytes / 4096 * 4096));
  bool readable = read(0, head);
  if (readable) FindInHead(head, found);
  if (drive_bytes >= kTailBytes + 4096) {
    // Aligned for reading, and up to the very end: md counts from the drive's size in 4 KiB or 64
    // KiB.
    const std::uint64_t begin = (drive_bytes - kTailBytes) / 4096 * 4096;
    std::vector<std::byte> tail(drive_bytes - begin);
    readable &= read(begin, tail);
    if (readable) FindInTail(tail, found);
  }
  if (!readable) found.push_back("unreadable sectors");
  std::string text;
  for (const auto name : found) {
    if (!text.empty()) text += " and ";
    text += name;
  }
  return text;
}

}  // namespace kvpool::device
