#include "pool/staging.h"

namespace kvpool::pool {

Result<std::unique_ptr<Staging>> Staging::Make(const StagingOptions& options) {
  std::unique_ptr<Staging> staging(new Staging(options));
  if (!options.memory.empty()) {
    staging->pool_ = std::make_unique<mem::BufferPool>(options.memory, options.buffer_bytes);
    return staging;
  }
  auto region = mem::Region::Make({.bytes = std::uint64_t{options.buffer_bytes} * options.buffers,
                                   .numa_node = options.numa_node,
                                   .shareable = false});
  if (!region) return tl::unexpected(region.error());
  options.registered->Add((*region)->bytes());
  staging->pool_ = std::make_unique<mem::BufferPool>((*region)->bytes(), options.buffer_bytes);
  staging->regions_.push_back(std::move(*region));
  return staging;
}

Staging::~Staging() {
  for (const auto& region : regions_) options_.registered->Remove(region->bytes());
}

void Staging::Replace() {
  // A region is 2 MiB at least: it may have been two buffers, of which one is left.
  if (pool_->available() > 0) return;
  auto region = mem::Region::Make(
      {.bytes = options_.buffer_bytes, .numa_node = options_.numa_node, .shareable = false});
  if (!region) return;
  options_.registered->Add((*region)->bytes());
  pool_->Add((*region)->bytes());
  regions_.push_back(std::move(*region));
}

}  // namespace kvpool::pool
