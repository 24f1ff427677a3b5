// Staging: one lane's buffers for bytes that no device can move where they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kvpool/result.h"
#include "mem/buffer_pool.h"
#include "mem/region.h"
#include "mem/registered_memory.h"

namespace kvpool::pool {

struct StagingOptions {
  std::uint32_t buffer_bytes = 0;
  std::uint32_t buffers = 0;
  int numa_node = -1;
  std::span<std::byte> memory = {};  // outlives this; none: it makes `buffers` of its own
  mem::RegisteredMemory* registered = nullptr;  // told of the memory; outlives this
};

// Threads: the lane's.
class Staging {
 public:
  static Result<std::unique_ptr<Staging>> Make(const StagingOptions& options);
  ~Staging();

  std::byte* Get() { return pool_->Get(); }  // nullptr when all are out
  void Put(std::byte* buffer) { pool_->Put(buffer); }
  bool HalfOut() const { return pool_->available() * 2 < pool_->size(); }
  std::size_t buffer_bytes() const { return options_.buffer_bytes; }

  // A buffer stays out for long: another one takes its place, where there is memory for it.
  void Replace();

 private:
  explicit Staging(const StagingOptions& options) : options_(options) {}

  const StagingOptions options_;
  std::vector<std::unique_ptr<mem::Region>> regions_;
  std::unique_ptr<mem::BufferPool> pool_;
};

}  // namespace kvpool::pool
