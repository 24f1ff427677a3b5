// Region: memory that devices read into: 2 MiB-aligned, on hugepages where free, bound to a node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kvpool/result.h"

namespace kvpool::mem {

enum class PageKind : std::uint8_t { kHuge, kTransparentHuge, kSmall };

struct RegionOptions {
  std::uint64_t bytes = 0;  // rounded up to 2 MiB
  int numa_node = -1;       // -1: wherever
  bool shareable = true;    // a memfd that is sealed at its size, so that another process can map
                            // it and rely on it. Never on reserved hugepages: a hole that one
                            // process makes there may kill the other
  bool lock = true;         // tried; what came of it is in locked()
  bool populate = true;     // touch every page now, not during the first transfer
};

// Threads: immutable once made.
class Region {
 public:
  // kNoSpace (not that much memory), kInvalid (no bytes, or no such node). Reserved hugepages are
  // tried first, then transparent ones, then 4 KiB pages. A region that cannot be locked, bound (a
  // container may forbid it) or given hugepages is made all the same: description() tells.
  static Result<std::unique_ptr<Region>> Make(const RegionOptions& options);
  // Maps the memory of a shareable region of `bytes` that another process made, and takes `fd`
  // over, also on failure. kInvalid: it is no such region. kNoSpace: it cannot be mapped.
  static Result<std::unique_ptr<Region>> Adopt(int fd, std::uint64_t bytes);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }
  int fd() const { return fd_; }  // the memfd; -1 when not shareable
  PageKind page_kind() const { return page_kind_; }
  bool locked() const { return locked_; }
  int numa_node() const { return numa_node_; }  // -1 when unbound
  // "hugepages, locked, node 0" or what is missing and how to get it.
  const std::string& description() const { return description_; }

 private:
  Region() = default;
  std::span<std::byte> bytes_;
  int fd_ = -1;
  PageKind page_kind_ = PageKind::kSmall;
  bool locked_ = false;
  int numa_node_ = -1;
  std::string description_;
};

// Memory this process may still take: the machine's available memory within the cgroup's limit
// (v1 and v2). Bytes.
std::uint64_t AvailableMemory();

// NUMA nodes that have memory, ascending, as of now; {0} on a machine without NUMA.
struct NodeMemory {
  int node = 0;
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;  // unused, or file cache that the kernel would give up
};
std::vector<NodeMemory> MemoryNodes();

}  // namespace kvpool::mem
