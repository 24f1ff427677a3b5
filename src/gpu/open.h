// From a pool file's [[gpu]] to a stager.
#pragma once

#include <memory>

#include "base/clock.h"
#include "gpu/stager.h"
#include "kvpool/config.h"

namespace kvpool::gpu {

// What OpenCudaStager gives, with the GPU's name before the sentence.
Result<std::unique_ptr<Stager>> OpenStager(const GpuConfig& config, const Clock& clock);

}  // namespace kvpool::gpu
