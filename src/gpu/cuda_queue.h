// CudaQueue: two streams, one for each direction, and the copies that are under way on them.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "gpu/cuda_context.h"
#include "gpu/stager.h"

namespace kvpool::gpu {

// What one Submit hands over in one direction goes to the driver as one batch, with one event
// behind it. Events are looked at, a few thousand times a second: a callback of the driver's would
// hold up the stream. Threads: one at a time.
class CudaQueue final : public Queue {
 public:
  // kIoError: the driver gives no stream.
  static Result<std::unique_ptr<Queue>> Open(std::shared_ptr<CudaContext> context,
                                             const Clock& clock);
  ~CudaQueue() override;

  std::size_t Submit(std::span<Copy* const> copies) override;
  std::size_t Poll(std::span<Copy*> done) override;
  std::int64_t NextPollNs() const override;

 private:
  // Copies that are done when their event is.
  struct Flight {
    cuda::Event event = nullptr;
    std::vector<Copy*> copies;
    bool failed = false;
  };
  struct Way {
    cuda::Stream stream = nullptr;
    std::deque<std::unique_ptr<Flight>> flights;  // in the stream's order
  };

  CudaQueue(std::shared_ptr<CudaContext> context, const Clock& clock)
      : context_(std::move(context)), clock_(clock) {}
  bool MakeStreams();
  bool MakeFlights();
  void Launch(Direction direction, std::span<Copy* const> copies);
  bool Enqueue(Direction direction, std::span<Copy* const> copies);
  bool EnqueueBatch(Direction direction, std::span<Copy* const> copies);
  bool HasLanded(Way& way, Flight& flight);

  const std::shared_ptr<CudaContext> context_;
  const Clock& clock_;
  std::array<Way, 2> ways_;  // by direction
  std::vector<std::unique_ptr<Flight>> resting_;
  std::int64_t looked_ns_ = 0;
  // Of one batch; kept so that copies do not allocate.
  std::vector<cuda::Address> to_;
  std::vector<cuda::Address> from_;
  std::vector<std::size_t> bytes_;
};

}  // namespace kvpool::gpu
