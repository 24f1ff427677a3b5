// CudaContext: one GPU's primary context, and what went wrong in it.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "base/mutex.h"
#include "gpu/cuda_driver.h"

namespace kvpool::gpu {

// Threads: any.
class CudaContext {
 public:
  // Takes over what cuDevicePrimaryCtxRetain gave.
  CudaContext(const cuda::Functions& functions, cuda::Device with, cuda::Context context)
      : call(functions), device(with), context_(context) {}
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
  const cuda::Device device;

 private:
  const cuda::Context context_;
  mutable Mutex mutex_;
  std::string failure_ KVPOOL_GUARDED_BY(mutex_);
};

}  // namespace kvpool::gpu
