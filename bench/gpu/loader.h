// Loader: one way to bring a context to a GPU, timed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "bench/compare/contender.h"
#include "bench/gpu/destination.h"
#include "bench/gpu/model.h"
#include "kvpool/config.h"
#include "kvpool/result.h"

namespace kvpool::bench {

struct Load {
  double whole_s = 0;        // until the last byte is there
  double first_layer_s = 0;  // until the first layer is
  double ttft_s = 0;  // until an engine that uses the layers one by one has used the last one
};

// Threads: one.
class Loader {
 public:
  virtual ~Loader() = default;
  virtual Result<void> Store(const Content& content) = 0;
  // Brings the leading `blocks` into the destination. `layer_s`: for how long an engine uses each.
  virtual Result<Load> Bring(std::uint64_t blocks, double layer_s) = 0;
};

struct LoaderParts {
  Setting setting;
  GpuConfig gpu;  // with the bandwidth that was measured
  Destination* destination = nullptr;
  std::span<std::byte> buffer;  // host memory, as large as the context; the serial one reads to it
};

// A pool of the setting's devices. Memory of it is as large as its part of the context.
Result<std::unique_ptr<Loader>> MakePoolLoader(const LoaderParts& parts);
// What caches do today: memory first, then files, into host memory; then all of it to the GPU.
Result<std::unique_ptr<Loader>> MakeSerialLoader(const LoaderParts& parts);

}  // namespace kvpool::bench
