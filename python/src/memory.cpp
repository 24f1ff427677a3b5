#include "python/src/memory.h"

#include "python/src/errors.h"
#include "python/src/fork.h"

namespace kvpool::python {

PoolMemory::PoolMemory(std::shared_ptr<Memory> memory)
    : memory_(std::move(memory)), generation_(ForkGeneration()) {}

// In a forked child it is the parent's: a thread that is not there may hold its locks.
PoolMemory::~PoolMemory() {
  if (generation_ != ForkGeneration()) (void)new std::shared_ptr<Memory>(std::move(memory_));
}

std::unique_ptr<PoolMemory> Allocate(PoolHandle& handle, std::int64_t nbytes, int numa_node,
                                     bool shareable) {
  handle.CheckProcess();
  if (nbytes <= 0) Raise(Status::kInvalid, "memory is allocated by a number of bytes above 0");
  Result<std::shared_ptr<Memory>> memory;
  {
    const UnlockedUse use(handle.uses(), kThePool);
    memory = handle.pool().Allocate(static_cast<std::uint64_t>(nbytes), numa_node, shareable);
  }
  return std::make_unique<PoolMemory>(ValueOrRaise(std::move(memory)));
}

Registration::Registration(PoolHandle& handle, py::handle buffer)
    : buffer_(std::make_unique<Buffers>(Access::kRead)) {
  handle.CheckProcess();
  buffer_->AddBuffer(buffer);
  const Segment segment = buffer_->segments()[0];
  if (segment.kind == MemoryKind::kGpu) {
    Raise(Status::kUnsupported,
          "a buffer on a GPU is not registered: give it to put and get as it is");
  }
  Result<std::shared_ptr<Memory>> memory;
  {
    const UnlockedUse use(handle.uses(), kThePool);
    memory = handle.pool().Register({segment.data, segment.bytes});
  }
  memory_ = std::make_unique<PoolMemory>(ValueOrRaise(std::move(memory)));
}

void Registration::Release() {
  memory_.reset();
  buffer_.reset();
}

}  // namespace kvpool::python
