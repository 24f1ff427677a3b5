// Load: one stream of reads or writes on one queue, as deep as asked, and what came of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "device/device.h"
#include "kvpool/result.h"

namespace kvpool::probe {

struct Load {
  device::Op op = device::Op::kRead;
  std::uint64_t first_byte = 0;
  std::uint64_t bytes = 0;  // the area: [first_byte, first_byte + bytes); read again from its
                            // start when there is time left
  std::uint32_t io_bytes = 0;
  std::uint32_t depth = 1;
  double seconds = 1;             // nothing is submitted after that
  bool once = false;              // end after one pass over the area
  std::uint64_t random_seed = 0;  // 0: in sequence
};

struct LoadResult {
  std::uint64_t bytes = 0;
  double seconds = 0;              // from the first submission to the last completion
  double spin_seconds = 0;         // of them, in polls that found nothing (Traits::needs_polling)
  std::vector<double> latency_us;  // of each I/O, ascending
  double bytes_per_s() const { return seconds > 0 ? static_cast<double>(bytes) / seconds : 0; }
};

// One thread's queue on a device, with memory for `buffer_bytes` in flight.
// Threads: one.
class LoadRunner {
 public:
  // `registered` (may be null) knows the buffer; both outlive the runner.
  static Result<std::unique_ptr<LoadRunner>> Open(
      device::Device& device, std::span<std::byte> buffer,
      const mem::RegisteredMemory* registered = nullptr);
  ~LoadRunner();

  // load.io_bytes * load.depth must fit in the buffer; I/O i of `depth` uses the i-th part of it.
  // kIoError names the device. `tick` is called now and then with the
  // bytes that are done; may be empty.
  Result<LoadResult> Run(const Load& load, const std::function<void(std::uint64_t)>& tick);

 private:
  LoadRunner(device::Device& device, std::span<std::byte> buffer);
  void Wait();

  device::Device& device_;
  std::span<std::byte> buffer_;
  int event_fd_ = -1;
  std::unique_ptr<device::Queue> queue_;
};

}  // namespace kvpool::probe
