#include "gpu/cuda_queue.h"

#include <algorithm>

#include "base/check.h"

namespace kvpool::gpu {
namespace {

constexpr std::size_t kFlights = 32;
// A link of 50 GB/s moves 1 MB meanwhile, and lanes have several in flight.
constexpr std::int64_t kLookNs = 20'000;

cuda::Address AddressOf(const std::byte* data) { return reinterpret_cast<cuda::Address>(data); }

}  // namespace

Result<std::unique_ptr<Queue>> CudaQueue::Open(std::shared_ptr<CudaContext> context,
                                               const Clock& clock) {
  std::unique_ptr<CudaQueue> queue(new CudaQueue(std::move(context), clock));
  const CudaContext::Current current(*queue->context_);
  if (queue->MakeStreams() && queue->MakeFlights()) return std::unique_ptr<Queue>(std::move(queue));
  return Fail(Status::kIoError,
              queue->context_->failure() + ": see nvidia-smi and the kernel's log");
}

// Before the kernels of others: a layer that waits for its bytes computes nothing.
bool CudaQueue::MakeStreams() {
  const cuda::Functions& call = context_->call;
  int least = 0;
  int greatest = 0;
  if (!context_->Check("cuCtxGetStreamPriorityRange", call.priority_range(&least, &greatest))) {
    return false;
  }
  return std::all_of(ways_.begin(), ways_.end(), [&](Way& way) {
    return context_->Check("cuStreamCreateWithPriority",
                           call.stream_create(&way.stream, cuda::kStreamNonBlocking, greatest));
  });
}

bool CudaQueue::MakeFlights() {
  for (std::size_t i = 0; i < kFlights; ++i) {
    resting_.push_back(std::make_unique<Flight>());
    if (!context_->Check("cuEventCreate", context_->call.event_create(&resting_.back()->event,
                                                                      cuda::kEventDisableTiming))) {
      return false;
    }
  }
  return true;
}

CudaQueue::~CudaQueue() {
  const CudaContext::Current current(*context_);
  for (const auto& flight : resting_) {
    if (flight->event != nullptr) context_->call.event_destroy(flight->event);
  }
  for (Way& way : ways_) {
    KVPOOL_CHECK(way.flights.empty());
    if (way.stream != nullptr) context_->call.stream_destroy(way.stream);
  }
}

std::size_t CudaQueue::Submit(std::span<Copy* const> copies) {
  const CudaContext::Current current(*context_);
  std::size_t taken = 0;
  while (taken < copies.size() && !resting_.empty()) {
    const Direction direction = copies[taken]->direction;
    const auto rest = copies.subspan(taken);
    const auto end = std::find_if(rest.begin(), rest.end(),
                                  [&](const Copy* copy) { return copy->direction != direction; });
    const auto same = rest.first(static_cast<std::size_t>(end - rest.begin()));
    Launch(direction, same);
    taken += same.size();
  }
  return taken;
}

// What the driver refuses may be under way in part, so it waits for the event all the same.
void CudaQueue::Launch(Direction direction, std::span<Copy* const> copies) {
  Way& way = ways_[static_cast<std::size_t>(direction)];
  std::unique_ptr<Flight> flight = std::move(resting_.back());
  resting_.pop_back();
  flight->copies.assign(copies.rbegin(), copies.rend());  // the first at the back
  flight->failed = !Enqueue(direction, copies);
  const cuda::Code recorded = context_->call.event_record(flight->event, way.stream);
  if (!context_->Check("cuEventRecord", recorded)) {
    flight->failed = true;
    context_->Check("cuStreamSynchronize", context_->call.stream_synchronize(way.stream));
  }
  way.flights.push_back(std::move(flight));
}

bool CudaQueue::Enqueue(Direction direction, std::span<Copy* const> copies) {
  const cuda::Functions& call = context_->call;
  if (call.copy_batch != nullptr) return EnqueueBatch(direction, copies);
  const cuda::Stream stream = ways_[static_cast<std::size_t>(direction)].stream;
  for (const Copy* copy : copies) {
    for (const Run& run : copy->runs) {
      const bool taken =
          direction == Direction::kToGpu
              ? context_->Check("cuMemcpyHtoDAsync",
                                call.to_gpu(AddressOf(run.gpu), run.host, run.bytes, stream))
              : context_->Check("cuMemcpyDtoHAsync",
                                call.to_host(run.host, AddressOf(run.gpu), run.bytes, stream));
      if (!taken) return false;
    }
  }
  return true;
}

bool CudaQueue::EnqueueBatch(Direction direction, std::span<Copy* const> copies) {
  to_.clear();
  from_.clear();
  bytes_.clear();
  for (const Copy* copy : copies) {
    for (const Run& run : copy->runs) {
      const bool to_gpu = direction == Direction::kToGpu;
      to_.push_back(AddressOf(to_gpu ? run.gpu : run.host));
      from_.push_back(AddressOf(to_gpu ? run.host : run.gpu));
      bytes_.push_back(run.bytes);
    }
  }
  cuda::CopyAttributes attributes;
  std::size_t first = 0;
  std::size_t failed = 0;
  const cuda::Stream stream = ways_[static_cast<std::size_t>(direction)].stream;
  return context_->Check(
      "cuMemcpyBatchAsync",
      context_->call.copy_batch(to_.data(), from_.data(), bytes_.data(), bytes_.size(), &attributes,
                                &first, 1, &failed, stream));
}

// An error of the event is the stream's, or the whole GPU's: nothing moves there any more.
bool CudaQueue::HasLanded(Way& way, Flight& flight) {
  const cuda::Code code = context_->call.event_query(flight.event);
  if (code == cuda::kNotReady) return false;
  if (context_->Check("cuEventQuery", code)) return true;
  flight.failed = true;
  context_->call.stream_synchronize(way.stream);
  return true;
}

std::size_t CudaQueue::Poll(std::span<Copy*> done) {
  std::size_t count = 0;
  if (NextPollNs() == kNever) return count;
  looked_ns_ = clock_.NowNs();
  const CudaContext::Current current(*context_);
  for (Way& way : ways_) {
    while (count < done.size() && !way.flights.empty()) {
      Flight& flight = *way.flights.front();
      if (!flight.copies.empty() && !HasLanded(way, flight)) break;
      while (count < done.size() && !flight.copies.empty()) {
        Copy* const copy = flight.copies.back();
        flight.copies.pop_back();
        copy->status = flight.failed ? Status::kIoError : Status::kOk;
        done[count++] = copy;
      }
      if (!flight.copies.empty()) break;
      resting_.push_back(std::move(way.flights.front()));
      way.flights.pop_front();
    }
  }
  return count;
}

std::int64_t CudaQueue::NextPollNs() const {
  const bool idle =
      std::all_of(ways_.begin(), ways_.end(), [](const Way& way) { return way.flights.empty(); });
  return idle ? kNever : looked_ns_ + kLookNs;
}

}  // namespace kvpool::gpu
