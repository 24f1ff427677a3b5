#include "tests/sim/detacher.h"

#include <cstring>

#include "tests/sim/job.h"

namespace kvpool::sim {

bool SimDetacher::Detach(std::span<const iovec> parts) {
  for (const iovec& part : parts) {
    const Arena* arena = Arena::Of(part.iov_base);
    if (arena != nullptr ? arena->stays : others_stay_) return false;
  }
  for (const iovec& part : parts) {
    rack_.Detach(part);
    std::memset(part.iov_base, 0xee, part.iov_len);
  }
  return true;
}

}  // namespace kvpool::sim
