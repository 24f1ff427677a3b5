#include "gpu/await.h"

#include "gpu/cuda_context.h"

namespace kvpool::gpu {

Result<void> AwaitStream(const std::byte* address, std::uintptr_t stream,
                         const std::string& library) {
  if (!cuda::IsLoaded(library)) return {};
  const auto call = cuda::LoadDriver(library);
  if (!call) return tl::unexpected(call.error());
  const auto context = CudaContext::Around(*call, address);
  if (!context) return tl::unexpected(context.error());
  const CudaContext::Current current(**context);
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  const cuda::Code code = call->stream_synchronize(reinterpret_cast<cuda::Stream>(stream));
  if (code != cuda::kSuccess) return cuda::Refused(*call, "cuStreamSynchronize", code);
  return {};
}

}  // namespace kvpool::gpu
