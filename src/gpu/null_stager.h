// Null stager: host memory that plays a GPU's, behind a link of any speed.
#pragma once

#include <memory>

#include "base/clock.h"
#include "base/pacer.h"
#include "gpu/stager.h"

namespace kvpool::gpu {

struct NullStagerOptions {
  std::string name;
  Pace pace;  // of each direction
  int numa_node = -1;
};

// Every address is the GPU's; what it imports is a memfd (mem::Region::Adopt). A copy's bytes move
// when its time has come, on the thread that polls: who looks at them sooner, or takes the other
// side away, sees that. `clock` outlives the stager.
std::unique_ptr<Stager> MakeNullStager(const NullStagerOptions& options,
                                       const Clock& clock = Clock::Monotonic());

}  // namespace kvpool::gpu
