#include "gpu/open.h"

#include <fmt/format.h>

#include "gpu/cuda_stager.h"
#include "gpu/null_stager.h"

namespace kvpool::gpu {

Result<std::unique_ptr<Stager>> OpenStager(const GpuConfig& config, const Clock& clock) {
  if (config.kind == GpuKind::kNull) {
    return MakeNullStager(
        {.name = config.name,
         .pace = {.bytes_per_s = config.bytes_per_s,
                  .latency_ns = static_cast<std::int64_t>(config.latency_us * 1e3)},
         .numa_node = config.numa_node},
        clock);
  }
  auto opened = OpenCudaStager({.name = config.name,
                                .ordinal = config.ordinal,
                                .bytes_per_s = config.bytes_per_s,
                                .numa_node = config.numa_node},
                               clock);
  if (opened) return opened;
  Error error = opened.error();
  error.message = fmt::format("gpu \"{}\": {}", config.name, error.message);
  return tl::unexpected(std::move(error));
}

}  // namespace kvpool::gpu
