#include "device/file/filesystem.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace kvpool::device {
namespace {

struct Known {
  std::uint64_t type;
  std::string_view name;
};

constexpr std::uint64_t kXfs = 0x58465342;
constexpr std::uint64_t kZfs = 0x2fc12fc1;

constexpr std::array kKnown{
    Known{EXT4_SUPER_MAGIC, "ext4"},
    Known{kXfs, "xfs"},
    Known{BTRFS_SUPER_MAGIC, "btrfs"},
    Known{F2FS_SUPER_MAGIC, "f2fs"},
    Known{TMPFS_MAGIC, "tmpfs"},
    Known{RAMFS_MAGIC, "ramfs"},
    Known{OVERLAYFS_SUPER_MAGIC, "overlayfs"},
    Known{NFS_SUPER_MAGIC, "nfs"},
    Known{kZfs, "zfs"},
    Known{V9FS_MAGIC, "9p"},
    Known{FUSE_SUPER_MAGIC, "fuse"},
    Known{CEPH_SUPER_MAGIC, "ceph"},
    Known{ECRYPTFS_SUPER_MAGIC, "ecryptfs"},
    Known{HUGETLBFS_MAGIC, "hugetlbfs"},
    Known{MSDOS_SUPER_MAGIC, "vfat"},
    Known{SQUASHFS_MAGIC, "squashfs"},
};

}  // namespace

std::string FilesystemName(std::uint64_t type) {
  const auto known =
      std::find_if(kKnown.begin(), kKnown.end(), [type](const Known& k) { return k.type == type; });
  return known != kKnown.end() ? std::string(known->name)
                               : fmt::format("a filesystem of type {:#x}", type);
}

Filesystem FilesystemOf(int fd) {
  struct statfs stat{};
  if (::fstatfs(fd, &stat) != 0) return {.name = "an unknown filesystem"};
  const auto type = static_cast<std::uint32_t>(stat.f_type);
  return {.name = FilesystemName(type),
          .free_bytes =
              static_cast<std::uint64_t>(stat.f_bavail) * static_cast<std::uint64_t>(stat.f_bsize)};
}

}  // namespace kvpool::device
