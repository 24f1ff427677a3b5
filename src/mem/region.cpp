#include "mem/region.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <tuple>
#include <utility>

#include "base/units.h"
#include "mem/page_calls.h"
#include "mem/system_memory.h"

namespace kvpool::mem {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;

// A mapping being made; unmapped unless Release()d.
class NewMapping {
 public:
  NewMapping() = default;
  NewMapping(NewMapping&& other) noexcept
      : bytes_(std::exchange(other.bytes_, {})), fd_(std::exchange(other.fd_, -1)) {}
  NewMapping& operator=(NewMapping&&) = delete;
  ~NewMapping() {
    if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
    if (fd_ >= 0) ::close(fd_);
  }

  explicit NewMapping(int fd) : fd_(fd) {}

  // errno of the system call that refused, 0 when mapped.
  int Map(std::uint64_t bytes, bool shareable, bool hugepages);
  int MapHere(std::uint64_t bytes, bool hugepages);

  std::span<std::byte> bytes() const { return bytes_; }
  std::pair<std::span<std::byte>, int> Release() {
    return {std::exchange(bytes_, {}), std::exchange(fd_, -1)};
  }

 private:
  std::span<std::byte> bytes_;
  int fd_ = -1;
};

int NewMapping::Map(std::uint64_t bytes, bool shareable, bool hugepages) {
  if (shareable) {
    fd_ = ::memfd_create("kvpool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd_ < 0 || ::ftruncate(fd_, static_cast<off_t>(bytes)) != 0 ||
        ::fcntl(fd_, F_ADD_SEALS, kSeals) != 0) {
      return errno;
    }
  }
  return MapHere(bytes, hugepages);
}

int NewMapping::MapHere(std::uint64_t bytes, bool hugepages) {
  return MapAligned({.bytes = bytes, .fd = fd_, .hugepages = hugepages && fd_ < 0}, bytes_);
}

std::string NodeList(std::span<const NodeMemory> nodes) {
  std::string text;
  for (const auto& node : nodes) text += fmt::format("{}{}", text.empty() ? "" : ", ", node.node);
  return text;
}

// Refuses what the machine plainly cannot give: an overcommitted region would end in a kill later.
Result<void> CheckRoom(std::uint64_t bytes, int numa_node) {
  const auto available = AvailableMemory();
  if (bytes > available) {
    return Fail(
        Status::kNoSpace,
        fmt::format("a memory region of {} does not fit into the {} that this machine or its "
                    "cgroup can still give; ask for less or free some",
                    FormatBytes(bytes), FormatBytes(available)));
  }
  for (const auto& node : MemoryNodes()) {
    if (node.node != numa_node || bytes <= node.free_bytes) continue;
    return Fail(Status::kNoSpace,
                fmt::format("a memory region of {} does not fit into the {} that are free on NUMA "
                            "node {}; ask for less or spread it over several nodes",
                            FormatBytes(bytes), FormatBytes(node.free_bytes), numa_node));
  }
  return {};
}

Result<void> CheckNode(int numa_node) {
  const auto nodes = MemoryNodes();
  const auto same = [&](const NodeMemory& node) { return node.node == numa_node; };
  if (numa_node == -1 || std::any_of(nodes.begin(), nodes.end(), same)) return {};
  return Fail(
      Status::kInvalid,
      fmt::format("there is no memory on NUMA node {}: this machine's nodes are {}; name one "
                  "of them, or -1 for wherever",
                  numa_node, NodeList(nodes)));
}

std::string LockFailure() {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  return fmt::format("not locked (the limit is {}: raise it with `ulimit -l` or LimitMEMLOCK=)",
                     FormatBytes(limit.rlim_cur));
}

// Which kind a mapping without reserved hugepages ended on.
PageKind KindOf(std::span<std::byte> bytes, bool populated, bool shareable) {
  if (populated) {
    const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
    const auto huge =
        TransparentHugeBytes(ReadText("/proc/self/smaps"), begin, begin + bytes.size());
    return huge >= bytes.size() / 2 ? PageKind::kTransparentHuge : PageKind::kSmall;
  }
  const std::string setting =
      ReadText(shareable ? "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
                         : "/sys/kernel/mm/transparent_hugepage/enabled");
  const bool off = setting.empty() || setting.find("[never]") != setting.npos ||
                   setting.find("[deny]") != setting.npos;
  return off ? PageKind::kSmall : PageKind::kTransparentHuge;
}

std::string PageText(PageKind kind, std::uint64_t bytes) {
  switch (kind) {
    case PageKind::kHuge:
      return "hugepages";
    case PageKind::kTransparentHuge:
      return "transparent hugepages";
    case PageKind::kSmall:
      break;
  }
  return fmt::format("4 KiB pages (for hugepages: sysctl vm.nr_hugepages={})", bytes / kHugePage);
}

std::string NodeText(int numa_node, bool bound) {
  if (numa_node < 0) return "";
  return bound ? fmt::format(", node {}", numa_node)
               : fmt::format(", not bound to node {} (the kernel or a container forbids it)",
                             numa_node);
}

// Mapped, bound and populated as asked. `bound` tells whether the kernel took the node.
struct Made {
  NewMapping mapping;
  bool bound = false;
  int error = 0;
};

Made Attempt(const RegionOptions& options, std::uint64_t bytes, bool hugepages) {
  Made made;
  made.error = made.mapping.Map(bytes, options.shareable, hugepages);
  if (made.error != 0) return made;
  if (options.numa_node >= 0) {
    const int refused = BindPages(made.mapping.bytes(), options.numa_node);
    made.bound = refused == 0;
    // Not built in, or forbidden in a container: unbound memory serves. Anything else does not.
    if (refused != 0 && refused != ENOSYS && refused != EPERM) made.error = refused;
    if (made.error != 0) return made;
  }
  if (!hugepages) ::madvise(made.mapping.bytes().data(), bytes, MADV_HUGEPAGE);
  if (options.shareable && options.populate) CollapsePages(made.mapping.bytes());
  // A reserved hugepage that is missing on the node kills the process when touched later, so these
  // are always populated now, where it is only an error.
  if (hugepages || options.populate) made.error = PopulatePages(made.mapping.bytes(), !hugepages);
  return made;
}

bool OutOfDescriptors(int error) { return error == EMFILE || error == ENFILE; }

// errno of a memfd that cannot be had, or 0.
int TryDescriptor() {
  const int fd = ::memfd_create("kvpool", MFD_CLOEXEC);
  if (fd < 0) return errno;
  ::close(fd);
  return 0;
}

Result<void> MakeFailure(std::uint64_t bytes, int numa_node, int error) {
  if (error == EINVAL && numa_node >= 0) {
    return Fail(Status::kInvalid,
                fmt::format("this process may not use NUMA node {}: its cpuset forbids it; name "
                            "another node, or -1 for wherever",
                            numa_node),
                error);
  }
  if (OutOfDescriptors(error)) {
    return Fail(Status::kNoSpace,
                fmt::format("a memory region of {} cannot be made: {}; raise the limit on open "
                            "files (ulimit -n)",
                            FormatBytes(bytes), std::strerror(error)),
                error);
  }
  return Fail(Status::kNoSpace,
              fmt::format("a memory region of {} cannot be made: {}; ask for less or free some",
                          FormatBytes(bytes), std::strerror(error)),
              error);
}

}  // namespace

Result<std::unique_ptr<Region>> Region::Make(const RegionOptions& options) {
  if (options.bytes == 0 || options.bytes > std::uint64_t{1} << 46) {
    return Fail(Status::kInvalid,
                "a memory region has between 1 byte and 64 TiB; ask for one of those sizes");
  }
  if (auto node = CheckNode(options.numa_node); !node) return tl::unexpected(node.error());
  const std::uint64_t bytes = (options.bytes + kHugePage - 1) / kHugePage * kHugePage;

  std::optional<Made> made(std::in_place);
  if (options.shareable) {
    made->error = TryDescriptor();
  } else {
    made.emplace(Attempt(options, bytes, true));
  }
  const bool huge = !options.shareable && made->error == 0;
  // What the machine has free is read from files.
  if (!huge && !OutOfDescriptors(made->error)) {
    if (auto room = CheckRoom(bytes, options.numa_node); !room) return tl::unexpected(room.error());
    made.emplace(Attempt(options, bytes, false));
  }
  if (made->error != 0) {
    return tl::unexpected(MakeFailure(bytes, options.numa_node, made->error).error());
  }

  std::unique_ptr<Region> region(new Region);
  std::tie(region->bytes_, region->fd_) = made->mapping.Release();
  region->page_kind_ =
      huge ? PageKind::kHuge : KindOf(region->bytes_, options.populate, options.shareable);
  // Reserved hugepages are never swapped out.
  region->locked_ = huge || (options.lock && LockPages(region->bytes_, options.populate));
  region->numa_node_ = made->bound ? options.numa_node : -1;
  region->description_ = PageText(region->page_kind_, bytes);
  if (region->locked_) region->description_ += ", locked";
  if (options.lock && !region->locked_) region->description_ += ", " + LockFailure();
  region->description_ += NodeText(options.numa_node, made->bound);
  return region;
}

Result<std::unique_ptr<Region>> Region::Adopt(int fd, std::uint64_t bytes) {
  NewMapping mapping(fd);
  struct stat status{};
  struct statfs filesystem{};
  const int seals = ::fcntl(fd, F_GET_SEALS);
  const bool good = seals >= 0 && (seals & kSeals) == kSeals && bytes != 0 &&
                    bytes % kHugePage == 0 && ::fstat(fd, &status) == 0 &&
                    static_cast<std::uint64_t>(status.st_size) == bytes &&
                    ::fstatfs(fd, &filesystem) == 0 && filesystem.f_type == TMPFS_MAGIC;
  if (!good) {
    return Fail(Status::kInvalid,
                "this is no region: one is a memfd of whole 2 MiB, sealed at its size, and on no "
                "reserved hugepages");
  }
  if (const int error = mapping.MapHere(bytes, false); error != 0) {
    return tl::unexpected(MakeFailure(bytes, -1, error).error());
  }
  std::unique_ptr<Region> region(new Region);
  std::tie(region->bytes_, region->fd_) = mapping.Release();
  region->description_ = "another process' memory";
  return region;
}

Region::~Region() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace kvpool::mem
