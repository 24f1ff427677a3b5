// Waits for what others do on a GPU, so that their bytes are final before they are copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "kvpool/result.h"

namespace kvpool::gpu {

// The stream that CUDA's programs use where they name none.
inline constexpr std::uintptr_t kDefaultStream = 1;

// Returns when all is done that is in `stream` of the GPU whose memory `address` is:
// kDefaultStream, 2 (the calling thread's default stream), or a stream's handle. Who has not loaded
// `library` has nothing on a GPU, and there is nothing to wait for. kInvalid: the address is no
// GPU's. kUnsupported, kIoError: as OpenCudaStager. Threads: any.
Result<void> AwaitStream(const std::byte* address, std::uintptr_t stream,
                         const std::string& library = "libcuda.so.1");

}  // namespace kvpool::gpu
