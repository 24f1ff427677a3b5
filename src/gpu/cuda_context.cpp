#include "gpu/cuda_context.h"

#include <fmt/format.h>

#include <array>

namespace kvpool::gpu {
namespace {

Result<int> CountOf(const cuda::Functions& call) {
  int count = 0;
  const cuda::Code code = call.device_count(&count);
  if (code != cuda::kSuccess) return cuda::Refused(call, "cuDeviceGetCount", code);
  return count;
}

bool IsUsed(const cuda::Functions& call, std::uint32_t ordinal) {
  cuda::Device device = 0;
  unsigned flags = 0;
  int active = 0;
  return call.device(&device, static_cast<int>(ordinal)) == cuda::kSuccess &&
         call.primary_state(device, &flags, &active) == cuda::kSuccess && active != 0;
}

}  // namespace

Result<std::shared_ptr<CudaContext>> CudaContext::Open(const cuda::Functions& functions,
                                                       std::uint32_t ordinal) {
  const auto count = CountOf(functions);
  if (!count) return tl::unexpected(count.error());
  if (ordinal >= static_cast<std::uint32_t>(*count)) {
    return Fail(
        Status::kNotFound,
        fmt::format("there is no GPU {}: CUDA sees {} here, counted from 0", ordinal, *count));
  }
  cuda::Device device = 0;
  if (const auto code = functions.device(&device, static_cast<int>(ordinal));
      code != cuda::kSuccess) {
    return cuda::Refused(functions, "cuDeviceGet", code);
  }
  cuda::Context context = nullptr;
  if (const auto code = functions.primary_retain(&context, device); code != cuda::kSuccess) {
    return cuda::Refused(functions, "cuDevicePrimaryCtxRetain", code);
  }
  return std::make_shared<CudaContext>(functions, ordinal, device, context);
}

Result<std::shared_ptr<CudaContext>> CudaContext::Around(const cuda::Functions& functions,
                                                         const std::byte* address) {
  const auto count = CountOf(functions);
  if (!count) return tl::unexpected(count.error());
  for (std::uint32_t ordinal = 0; ordinal < static_cast<std::uint32_t>(*count); ++ordinal) {
    if (!IsUsed(functions, ordinal)) continue;
    auto context = Open(functions, ordinal);
    if (!context) return context;
    if ((*context)->MemoryAround(address).ordinal == static_cast<int>(ordinal)) return context;
  }
  return Fail(Status::kInvalid,
              "CUDA does not know the address as a GPU's memory: give a buffer that is on a GPU");
}

CudaMemory CudaContext::MemoryAround(const std::byte* address) {
  unsigned type = 0;
  int of = -1;
  cuda::Address start = 0;
  std::size_t bytes = 0;
  unsigned long long id = 0;
  std::uint64_t exportable = 0;  // a byte or an int of it is written
  std::array<int, 6> attributes{cuda::kAttributeMemoryType, cuda::kAttributeOrdinal,
                                cuda::kAttributeRangeStart, cuda::kAttributeRangeBytes,
                                cuda::kAttributeBufferId,   cuda::kAttributeLegacyIpc};
  std::array<void*, 6> values{&type, &of, &start, &bytes, &id, &exportable};
  const Current current(*this);
  const cuda::Code code =
      call.pointer_attributes(attributes.size(), attributes.data(), values.data(),
                              reinterpret_cast<cuda::Address>(address));
  if (code != cuda::kSuccess || type != cuda::kMemoryOfDevice) return {};
  const auto begin = static_cast<std::uintptr_t>(start);
  return {of, {begin, begin + bytes}, id, exportable != 0};
}

}  // namespace kvpool::gpu
