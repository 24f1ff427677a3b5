// CudaContext: one GPU's primary context, and what went wrong in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "gpu/cuda_driver.h"
#include "gpu/range.h"

namespace kvpool::gpu {

// What CUDA says of an address.
struct CudaMemory {
  int ordinal = -1;  // of the GPU whose memory it is; -1: of none
  Range allocation;
  std::uint64_t id = 0;     // no other allocation of this process' has it
  bool exportable = false;  // by cuIpcGetMemHandle
};

// Threads: any.
class CudaContext {
 public:
  // Of the GPU with that number, as CUDA counts. kNotFound: there is none; kIoError: a call failed,
  // each with one sentence.
  static Result<std::shared_ptr<CudaContext>> Open(const cuda::Functions& functions,
                                                   std::uint32_t ordinal);
  // Of the GPU whose memory `address` is. Looks only at GPUs that this process uses: a context
  // takes some of a GPU's memory. kInvalid: it is none of theirs; kIoError.
  static Result<std::shared_ptr<CudaContext>> Around(const cuda::Functions& functions,
                                                     const std::byte* address);

  // Takes over what cuDevicePrimaryCtxRetain gave.
  CudaContext(const cuda::Functions& functions, std::uint32_t number, cuda::Device with,
              cuda::Context context)
      : call(functions), ordinal(static_cast<int>(number)), device(with), context_(context) {}
  ~CudaContext() { call.primary_release(device); }
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  // Makes it the thread's current one for as long as this lives: the thread may be an engine's,
  // with another one.
  class Current {
   public:
    explicit Current(CudaContext& owner)
        : owner_(owner),
          pushed_(owner.Check("cuCtxPushCurrent", owner.call.push(owner.context_))) {}
    ~Current() {
      cuda::Context popped = nullptr;
      if (pushed_) owner_.call.pop(&popped);
    }
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;

   private:
    CudaContext& owner_;
    const bool pushed_;
  };

  // Of any GPU's memory.
  CudaMemory MemoryAround(const std::byte* address);

  // False, and the first failure is kept, where `code` is one.
  bool Check(const char* name, cuda::Code code) {
    if (code == cuda::kSuccess) [[likely]]
      return true;
    MutexLock lock(mutex_);
    if (failure_.empty()) failure_ = cuda::Words(call, name, code);
    return false;
  }
  std::string failure() const {
    MutexLock lock(mutex_);
    return failure_;
  }

  const cuda::Functions call;
  const int ordinal;
  const cuda::Device device;

 private:
  const cuda::Context context_;
  mutable Mutex mutex_;
  std::string failure_ KVPOOL_GUARDED_BY(mutex_);
};

}  // namespace kvpool::gpu
