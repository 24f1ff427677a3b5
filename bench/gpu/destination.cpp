#include "bench/gpu/destination.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/limits.h"
#include "base/units.h"
#include "gpu/cuda_driver.h"
#include "gpu/open.h"
#include "mem/region.h"

namespace kvpool::bench {
namespace {

constexpr std::uint64_t kPiece = 16 * kMiB;

// Host memory that plays a GPU's.
class Played final : public Destination {
 public:
  Result<void> Allocate(std::uint64_t bytes) {
    auto region = mem::Region::Make({.bytes = bytes, .shareable = false, .lock = false});
    if (!region) return tl::unexpected(region.error());
    region_ = std::move(*region);
    data_ = region_->bytes().data();
    return {};
  }
  using Destination::OpenQueue;

 private:
  std::unique_ptr<mem::Region> region_;
};

// Memory of a CUDA device, which the stager does not need to give and so cannot.
class OnDevice final : public Destination {
 public:
  ~OnDevice() override {
    if (address_ != 0) {
      Push();
      free_(address_);
      Pop();
    }
    if (context_ != nullptr) call_.primary_release(device_);
  }

  Result<void> Allocate(const GpuConfig& gpu, std::uint64_t bytes) {
    const std::string library = "libcuda.so.1";
    auto call = gpu::cuda::LoadDriver(library);
    if (!call) return tl::unexpected(call.error());
    call_ = *call;
    void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    allocate_ = reinterpret_cast<decltype(allocate_)>(dlsym(handle, "cuMemAlloc_v2"));
    free_ = reinterpret_cast<decltype(free_)>(dlsym(handle, "cuMemFree_v2"));
    if (allocate_ == nullptr || free_ == nullptr) {
      return Fail(Status::kUnsupported,
                  "libcuda.so.1 has no cuMemAlloc_v2: install NVIDIA's driver");
    }
    auto code = call_.device(&device_, static_cast<int>(gpu.ordinal));
    if (code == gpu::cuda::kSuccess) code = call_.primary_retain(&context_, device_);
    if (code == gpu::cuda::kSuccess) {
      Push();
      code = allocate_(&address_, bytes);
      Pop();
    }
    if (code != gpu::cuda::kSuccess) {
      return Fail(Status::kNoSpace,
                  fmt::format("{} of the GPU's memory cannot be had: {}; ask for fewer tokens",
                              FormatBytes(bytes), gpu::cuda::Words(call_, "cuMemAlloc", code)));
    }
    data_ = reinterpret_cast<std::byte*>(address_);
    return {};
  }
  using Destination::OpenQueue;

 private:
  void Push() { call_.push(context_); }
  void Pop() {
    gpu::cuda::Context popped = nullptr;
    call_.pop(&popped);
  }

  gpu::cuda::Functions call_{};
  gpu::cuda::Code (*allocate_)(gpu::cuda::Address* address, std::size_t bytes) = nullptr;
  gpu::cuda::Code (*free_)(gpu::cuda::Address address) = nullptr;
  gpu::cuda::Device device_ = 0;
  gpu::cuda::Context context_ = nullptr;
  gpu::cuda::Address address_ = 0;
};

}  // namespace

Result<std::unique_ptr<Destination>> Destination::Open(const GpuConfig& gpu, std::uint64_t bytes) {
  const auto opened = [&](auto destination,
                          Result<void> allocated) -> Result<std::unique_ptr<Destination>> {
    if (!allocated) return tl::unexpected(allocated.error());
    if (auto queue = destination->OpenQueue(gpu); !queue) return tl::unexpected(queue.error());
    return std::unique_ptr<Destination>(std::move(destination));
  };
  if (gpu.kind == GpuKind::kNull) {
    auto played = std::make_unique<Played>();
    auto allocated = played->Allocate(bytes);
    return opened(std::move(played), std::move(allocated));
  }
  auto device = std::make_unique<OnDevice>();
  auto allocated = device->Allocate(gpu, bytes);
  return opened(std::move(device), std::move(allocated));
}

Result<void> Destination::OpenQueue(const GpuConfig& gpu) {
  auto stager = gpu::OpenStager(gpu, Clock::Monotonic());
  if (!stager) return tl::unexpected(stager.error());
  stager_ = std::move(*stager);
  auto queue = stager_->OpenQueue();
  if (!queue) return tl::unexpected(queue.error());
  queue_ = std::move(*queue);
  return {};
}

Result<double> Destination::CopyAll(std::span<std::byte> host, gpu::Direction direction) {
  const std::size_t count = (host.size() + kPiece - 1) / kPiece;
  std::vector<gpu::Run> runs(count);
  std::vector<gpu::Copy> copies(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t at = i * kPiece;
    runs[i] = {host.data() + at, data_ + at, std::min(kPiece, host.size() - at)};
    copies[i].direction = direction;
    copies[i].runs = {&runs[i], 1};
  }
  stager_->Pin(host);
  const std::int64_t begin_ns = Clock::Monotonic().NowNs();
  std::size_t submitted = 0;
  std::size_t ended = 0;
  bool failed = false;
  while (ended < count) {
    if (submitted < count) {
      gpu::Copy* const next = &copies[submitted];
      submitted += queue_->Submit({&next, 1});
    }
    gpu::Copy* done[8];
    const std::size_t some = queue_->Poll(done);
    for (gpu::Copy* copy : std::span(done).first(some)) failed |= copy->status != Status::kOk;
    ended += some;
    if (some == 0 && submitted == count) std::this_thread::yield();
  }
  const double seconds = 1e-9 * static_cast<double>(Clock::Monotonic().NowNs() - begin_ns);
  stager_->Unpin(host);
  if (failed) return Fail(Status::kIoError, "a copy failed: " + stager_->failure());
  return seconds;
}

Result<double> Destination::CopyIn(std::span<std::byte> host) {
  return CopyAll(host, gpu::Direction::kToGpu);
}

Result<double> Destination::CopyOut(std::span<std::byte> host) {
  return CopyAll(host, gpu::Direction::kToHost);
}

Result<double> Destination::Roofline(std::span<std::byte> host) {
  double best_s = 0;
  for (int repeat = 0; repeat < 3; ++repeat) {
    auto seconds = CopyIn(host);
    if (!seconds) return seconds;
    best_s = repeat == 0 ? *seconds : std::min(best_s, *seconds);
  }
  return static_cast<double>(host.size()) / best_s;
}

}  // namespace kvpool::bench
