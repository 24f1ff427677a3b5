// The two device nodes of an NVMe namespace, its character device and its block device, and what
// the kernel says of it in sysfs.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "kvpool/result.h"

namespace kvpool::device {

// What stat(2) says of a path.
struct NodeId {
  mode_t mode = 0;
  dev_t device = 0;
};

struct NvmeNodes {
  std::string character;  // "ng0n1"
  std::string block;      // "nvme0n1"; empty: the kernel made none
  int numa_node = -1;
  std::uint64_t max_bytes = 0;     // of one command, as the driver allows; 0: not known
  std::uint32_t max_segments = 0;  // the same
  bool polls = false;              // the driver keeps queues for polled completions
};

// From either node of a namespace; `path` is for sentences. kInvalid: it is something else, such
// as a partition; kUnsupported: the kernel makes no character devices for namespaces.
Result<NvmeNodes> FindNvmeNodes(const NodeId& id, const std::string& path,
                                const std::filesystem::path& sys = "/sys");

// The block device of the namespace whose node `path` is; `path` itself where it is something else.
std::string BlockNodeOf(const std::string& path);

}  // namespace kvpool::device
