// Destination: memory of a GPU for a bench, and plain copies to and from it.
#pragma once

#include <memory>
#include <span>

#include "gpu/stager.h"
#include "kvpool/config.h"
#include "kvpool/result.h"

namespace kvpool::bench {

// Threads: one.
class Destination {
 public:
  // What gpu::OpenStager gives; kNoSpace: the GPU has no such room.
  static Result<std::unique_ptr<Destination>> Open(const GpuConfig& gpu, std::uint64_t bytes);
  virtual ~Destination() = default;

  // Addresses of the GPU; the processor must not touch them.
  std::byte* data() const { return data_; }
  const gpu::Traits& traits() const { return stager_->traits(); }

  // Copies between `host` and the first bytes there, in pieces of 16 MiB, several under way.
  // Pinned meanwhile, which does not count. Seconds; kIoError.
  Result<double> CopyIn(std::span<std::byte> host);
  Result<double> CopyOut(std::span<std::byte> host);
  // What the link gives to large pinned copies: the best of three, in bytes a second.
  Result<double> Roofline(std::span<std::byte> host);

 protected:
  Result<void> OpenQueue(const GpuConfig& gpu);
  std::byte* data_ = nullptr;

 private:
  Result<double> CopyAll(std::span<std::byte> host, gpu::Direction direction);

  std::unique_ptr<gpu::Stager> stager_;
  std::unique_ptr<gpu::Queue> queue_;
};

}  // namespace kvpool::bench
