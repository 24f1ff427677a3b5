// CUDA's memory for other processes, by the driver's handles (cuIpcGetMemHandle).
#pragma once

#include <memory>
#include <vector>

#include "base/mutex.h"
#include "gpu/cuda_context.h"
#include "gpu/exporter.h"

namespace kvpool::gpu {

// The GPU's identity, as nvidia-smi writes it: "GPU-" and its UUID; empty: the driver says none.
std::string CudaIdentityOf(const cuda::Functions& call, cuda::Device device);

class CudaExporter final : public Exporter {
 public:
  explicit CudaExporter(const cuda::Functions& call) : call_(call) {}

  Allocation Around(const std::byte* address) override;
  Result<Handle> Export(const Allocation& allocation) override;

 private:
  // Of the GPU that the address is on; null: of none that this process uses.
  std::shared_ptr<CudaContext> ContextOf(const std::byte* address);

  const cuda::Functions call_;
  Mutex mutex_;
  std::vector<std::shared_ptr<CudaContext>> contexts_ KVPOOL_GUARDED_BY(mutex_);  // seen so far
};

}  // namespace kvpool::gpu
