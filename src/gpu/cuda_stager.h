// CUDA stager: copies by the driver's copy engines, from pinned memory, on streams of its own.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/clock.h"
#include "gpu/stager.h"

namespace kvpool::gpu {

struct CudaStagerOptions {
  std::string name;
  std::uint32_t ordinal = 0;  // as CUDA counts: CUDA_VISIBLE_DEVICES applies
  double bytes_per_s = 0;     // of the GPU's link; 0: not known
  int numa_node = -1;         // -1: what the kernel says of the GPU's slot
  std::string library = "libcuda.so.1";
  std::filesystem::path pci_devices = "/sys/bus/pci/devices";
};

// Uses the GPU's primary context, as engines do. kUnsupported (no driver, one that is too old, no
// GPU), kNotFound (no such ordinal), kIoError (a call failed), each with one sentence. `clock`
// outlives the stager.
Result<std::unique_ptr<Stager>> OpenCudaStager(const CudaStagerOptions& options,
                                               const Clock& clock = Clock::Monotonic());

}  // namespace kvpool::gpu
