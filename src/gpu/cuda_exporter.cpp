#include "gpu/cuda_exporter.h"

#include <fmt/format.h>

#include <cstring>

namespace kvpool::gpu {

std::string CudaIdentityOf(const cuda::Functions& call, cuda::Device device) {
  cuda::Uuid uuid;
  if (call.device_uuid(&uuid, device) != cuda::kSuccess) return {};
  std::string text = "GPU";
  for (std::size_t i = 0; i < uuid.bytes.size(); ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", uuid.bytes[i]);
  }
  return text;
}

std::shared_ptr<CudaContext> CudaExporter::ContextOf(const std::byte* address) {
  MutexLock lock(mutex_);
  for (const auto& context : contexts_) {
    if (context->MemoryAround(address).ordinal == context->ordinal) return context;
  }
  auto found = CudaContext::Around(call_, address);
  if (!found) return nullptr;
  contexts_.push_back(std::move(*found));
  return contexts_.back();
}

Allocation CudaExporter::Around(const std::byte* address) {
  const auto context = ContextOf(address);
  if (!context) return {};
  const CudaMemory memory = context->MemoryAround(address);
  return {memory.allocation, memory.id, CudaIdentityOf(call_, context->device), memory.exportable};
}

Result<Handle> CudaExporter::Export(const Allocation& allocation) {
  if (!allocation.exportable) {
    return Fail(Status::kUnsupported,
                "CUDA does not share this kind of GPU memory with other processes: allocate it by "
                "cudaMalloc, in PyTorch without expandable_segments and cudaMallocAsync, or bring "
                "the bytes to the host");
  }
  const auto context = ContextOf(allocation.range.first());
  if (!context)
    return Fail(Status::kInvalid, "the GPU memory is gone: keep it until its requests end");
  cuda::IpcHandle opaque;
  static_assert(sizeof opaque == Handle::kBytes);
  const CudaContext::Current current(*context);
  const cuda::Code code = call_.ipc_get(&opaque, allocation.range.begin);
  if (code != cuda::kSuccess) return cuda::Refused(call_, "cuIpcGetMemHandle", code);
  Handle handle;
  std::memcpy(handle.bytes.data(), opaque.bytes, sizeof opaque);
  return handle;
}

}  // namespace kvpool::gpu
