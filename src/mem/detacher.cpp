#include "mem/detacher.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "mem/system_memory.h"

namespace kvpool::mem {
namespace {

constexpr std::uintptr_t kPage = 4096;
constexpr int kDontNeedLocked = 24;  // MADV_DONTNEED_LOCKED, of Linux 5.18

std::uintptr_t Address(const iovec& part) {
  return reinterpret_cast<std::uintptr_t>(part.iov_base);
}

bool IsWholePages(const iovec& part) {
  return part.iov_len > 0 && (Address(part) | part.iov_len) % kPage == 0;
}

bool IsEmpty(const iovec& part) {
  std::vector<unsigned char> present(part.iov_len / kPage);
  if (::mincore(part.iov_base, part.iov_len, present.data()) != 0) return false;
  return std::all_of(present.begin(), present.end(), [](unsigned char page) { return page == 0; });
}

bool Advise(const iovec& part, int advice) {
  return ::madvise(part.iov_base, part.iov_len, advice) == 0;
}

// Locked memory is let go of page by page only while it is not locked.
bool AdviseUnlocked(const iovec& part, int advice, bool& relock) {
  if (Advise(part, advice)) return true;
  if (::munlock(part.iov_base, part.iov_len) != 0) return false;
  relock = true;
  return Advise(part, advice);
}

bool Drop(const iovec& part, MappingKind kind) {
  bool relock = false;
  const bool dropped =
      kind == MappingKind::kPrivate
          ? Advise(part, kDontNeedLocked) || AdviseUnlocked(part, MADV_DONTNEED, relock)
          : AdviseUnlocked(part, MADV_REMOVE, relock);
  // The kernel keeps what it could not take apart, and says nothing.
  const bool empty = dropped && IsEmpty(part);
  if (relock) ::mlock2(part.iov_base, part.iov_len, MLOCK_ONFAULT);
  return empty;
}

}  // namespace

PageDetacher::PageDetacher(RegisteredMemory& registered) : registered_(registered) {
  const int fd = ::memfd_create("kvpool-kind", MFD_CLOEXEC);
  if (fd < 0) return;
  struct stat status{};
  if (::fstat(fd, &status) == 0) {
    own_tmpfs_.push_back(NumberOf(::major(status.st_dev), ::minor(status.st_dev)));
  }
  ::close(fd);
}

bool PageDetacher::Detach(std::span<const iovec> parts) {
  if (!std::all_of(parts.begin(), parts.end(), IsWholePages)) return false;
  std::vector<DeviceNumber> tmpfs = TmpfsNumbers(ReadText("/proc/self/mountinfo"));
  tmpfs.insert(tmpfs.end(), own_tmpfs_.begin(), own_tmpfs_.end());
  const std::vector<Mapping> mappings = ParseMappings(ReadText("/proc/self/maps"), tmpfs);
  for (const iovec& part : parts) {
    const auto kind = KindOf(mappings, Address(part), Address(part) + part.iov_len);
    if (kind == MappingKind::kOther) return false;
    if (!registered_.MayMove({static_cast<std::byte*>(part.iov_base), part.iov_len})) return false;
    if (!Drop(part, kind)) return false;
  }
  for (const iovec& part : parts) {
    registered_.Moved({static_cast<std::byte*>(part.iov_base), part.iov_len});
  }
  return true;
}

}  // namespace kvpool::mem
