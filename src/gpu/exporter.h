// Exporter: this process' memory on GPUs, for another process to copy to and from.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "gpu/handle.h"
#include "gpu/range.h"
#include "kvpool/result.h"

namespace kvpool::gpu {

struct Allocation {
  Range range;           // empty: there is none
  std::uint64_t id = 0;  // no other allocation of this process' has it, not even at this place
  std::string gpu;       // the identity of the one it is on, as Traits has it
  bool exportable = false;
};

// Threads: any.
class Exporter {
 public:
  virtual ~Exporter() = default;

  // The allocation on a GPU that `address` lies in.
  virtual Allocation Around(const std::byte* address) = 0;

  // The whole of what Around gave. It stays the process' own: what another one does with it ends
  // before it is freed. kUnsupported: its kind of memory cannot be shared; kIoError: a call failed;
  // each with one sentence.
  virtual Result<Handle> Export(const Allocation& allocation) = 0;
};

// For GPUs of a kind of Traits: "cuda", or "null", where memory is whatever this process has
// mapped, shared, of a memfd that is open. kUnsupported: there is no driver here, or no such kind.
Result<std::unique_ptr<Exporter>> OpenExporter(std::string_view kind,
                                               const std::string& library = "libcuda.so.1");

}  // namespace kvpool::gpu
