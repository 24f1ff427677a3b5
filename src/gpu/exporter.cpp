#include "gpu/exporter.h"

#include <fmt/format.h>

#include "gpu/cuda_exporter.h"
#include "gpu/null_exporter.h"

namespace kvpool::gpu {

Result<std::unique_ptr<Exporter>> OpenExporter(std::string_view kind, const std::string& library) {
  if (kind == "null") return std::make_unique<NullExporter>();
  if (kind != "cuda") {
    return Fail(Status::kUnsupported,
                fmt::format("this kvpool knows no GPU of kind {}: use the daemon's release", kind));
  }
  const auto call = cuda::LoadDriver(library);
  if (!call) return tl::unexpected(call.error());
  return std::make_unique<CudaExporter>(*call);
}

}  // namespace kvpool::gpu
