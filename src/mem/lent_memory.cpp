#include "mem/lent_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/check.h"
#include "mem/page_calls.h"

namespace kvpool::mem {

Result<std::unique_ptr<LentMemory>> LentMemory::Make(const Options& options) {
  KVPOOL_CHECK(options.bytes != 0 && options.bytes % kHugePage == 0);
  std::unique_ptr<LentMemory> made(new LentMemory);
  made->fd_ = Descriptor(::memfd_create("kvpool-lent", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const int fd = made->fd_.get();
  const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
  // By the mode, whoever gets a descriptor for reading cannot open it again for writing.
  const bool sized = fd >= 0 && ::fchmod(fd, S_IRUSR) == 0 &&
                     ::ftruncate(fd, static_cast<off_t>(options.bytes)) == 0 &&
                     ::fcntl(fd, F_ADD_SEALS, seals) == 0;
  const int error = sized ? MapAligned({.bytes = options.bytes, .fd = fd}, made->bytes_) : errno;
  if (error != 0) {
    return Fail(Status::kNoSpace,
                "no shared memory could be had: raise the limit on open files (ulimit -n) or on "
                "addresses (ulimit -v)",
                error);
  }
  if (options.numa_node >= 0) BindPages(made->bytes_, options.numa_node);
  ::madvise(made->bytes_.data(), options.bytes, MADV_HUGEPAGE);
  if (options.lock) LockPages(made->bytes_, false);
  return made;
}

LentMemory::~LentMemory() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

bool LentMemory::Fill(std::uint64_t offset, std::uint64_t bytes) const {
  const auto part = bytes_.subspan(offset, bytes);
  CollapsePages(part);
  return PopulatePages(part, true) == 0;
}

void LentMemory::Drop(std::uint64_t offset, std::uint64_t bytes) const {
  const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  int result;
  do {
    result = ::fallocate(fd_.get(), mode, static_cast<off_t>(offset), static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  KVPOOL_CHECK(result == 0);  // or others would see what comes next
}

std::uint64_t LentMemory::NextFilled(std::uint64_t offset) const {
  const off_t found = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
  if (found < 0) return bytes_.size();
  return static_cast<std::uint64_t>(found) / kHugePage * kHugePage;
}

Result<Descriptor> LentMemory::ForBorrowers() const {
  const std::string path = fmt::format("/proc/self/fd/{}", fd_.get());
  Descriptor opened(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (opened) return opened;
  return Fail(Status::kUnsupported,
              "shared memory cannot be opened for reading: mount /proc, and raise the limit on "
              "open files (ulimit -n)",
              errno);
}

Result<std::shared_ptr<BorrowedMemory>> BorrowedMemory::Map(const Descriptor& fd,
                                                            std::uint64_t bytes) {
  std::shared_ptr<BorrowedMemory> made(new BorrowedMemory);
  struct stat status{};
  if (bytes == 0 || bytes % kHugePage != 0 || ::fstat(fd.get(), &status) != 0 ||
      static_cast<std::uint64_t>(status.st_size) != bytes) {
    return Fail(Status::kInvalid, "this is no memory of that size: use the same kvpool for both");
  }
  const int error = MapAligned({.bytes = bytes, .fd = fd.get(), .writable = false}, made->bytes_);
  if (error == 0) return made;
  return Fail(Status::kNoSpace,
              "lent memory cannot be mapped: raise the limit on addresses (ulimit -v)", error);
}

BorrowedMemory::~BorrowedMemory() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

}  // namespace kvpool::mem
