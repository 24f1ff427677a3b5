// Host memory that plays a GPU's, for other processes: a memfd, which both map.
#pragma once

#include "gpu/exporter.h"

namespace kvpool::gpu {

class NullExporter final : public Exporter {
 public:
  Allocation Around(const std::byte* address) override;
  Result<Handle> Export(const Allocation& allocation) override;
};

}  // namespace kvpool::gpu
