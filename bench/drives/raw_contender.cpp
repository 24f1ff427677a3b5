#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/clock.h"
#include "base/limits.h"
#include "bench/compare/accounting.h"
#include "bench/drives/contenders.h"
#include "bench/probe/load.h"
#include "device/open.h"
#include "mem/registered_memory.h"

namespace kvpool::bench {
namespace {

class RawContender final : public Contender {
 public:
  RawContender(const DeviceConfig& config, const Setting& setting, std::size_t position)
      : config_(config), setting_(setting), position_(position) {}
  ~RawContender() override {
    device_.reset();
    [[maybe_unused]] const auto gone = device::RemoveDevice(config_);
  }
  Result<void> Open(std::span<std::byte> buffer);

  Result<std::optional<Sample>> Store(const Content& content) override {
    auto sample = Move(device::Op::kWrite, content.buffer());
    if (!sample) return tl::unexpected(sample.error());
    return std::nullopt;
  }
  void DropCaches() override {}
  Result<Sample> Retrieve(std::uint64_t blocks, std::span<std::byte> into) override {
    return Move(device::Op::kRead, into.first(blocks * setting_.block_bytes));
  }
  std::vector<std::uint64_t> BytesRead() const override {
    std::vector<std::uint64_t> read(setting_.devices.size());
    read[position_] = bytes_read_.load(std::memory_order_relaxed);
    return read;
  }
  std::string note() const override { return device_->traits().description; }

 private:
  Result<Sample> Move(device::Op op, std::span<std::byte> bytes);
  Result<Sample> MoveOnThisThread(device::Op op, std::span<std::byte> bytes);

  const DeviceConfig config_;
  const Setting setting_;
  const std::size_t position_;
  mem::RegisteredMemory registered_;
  std::unique_ptr<device::Device> device_;
  std::atomic<std::uint64_t> bytes_read_{0};
};

Result<void> RawContender::Open(std::span<std::byte> buffer) {
  registered_.Add(buffer);
  device::CreateOptions creation;
  creation.label = {.pool_id = 1, .device_id = 1, .index = 0, .count = 1};
  if (auto made = device::CreateDevice(config_, creation); !made) return made;
  auto device = device::OpenDevice(config_, {.pool_id = 1, .device_id = 1});
  if (!device) return tl::unexpected(device.error());
  device_ = std::move(*device);
  return {};
}

// On a thread of its own, whose books are then those of the retrieval.
Result<Sample> RawContender::Move(device::Op op, std::span<std::byte> bytes) {
  Result<Sample> sample;
  std::thread([&] { sample = MoveOnThisThread(op, bytes); }).join();
  return sample;
}

Result<Sample> RawContender::MoveOnThisThread(device::Op op, std::span<std::byte> bytes) {
  auto runner = probe::LoadRunner::Open(*device_, bytes, &registered_);
  if (!runner) return tl::unexpected(runner.error());
  const std::uint32_t io_bytes =
      std::min<std::uint32_t>(device_->traits().max_io_bytes, static_cast<std::uint32_t>(kMiB));
  const probe::Load load{.op = op,
                         .bytes = bytes.size(),
                         .io_bytes = io_bytes,
                         .depth = static_cast<std::uint32_t>(bytes.size() / io_bytes),
                         .seconds = 1e9,
                         .once = true};
  Sample sample{.bytes = bytes.size()};
  const auto begin = ReadThisThread();
  const double cpu_begin = ProcessCpuSeconds();
  const std::uint64_t before = bytes_read_.load(std::memory_order_relaxed);
  const auto show = [&](std::uint64_t done) {
    if (op == device::Op::kRead) bytes_read_.store(before + done, std::memory_order_relaxed);
  };
  auto result = (*runner)->Run(load, show);
  if (!result) return tl::unexpected(result.error());
  sample.cpu_s = ProcessCpuSeconds() - cpu_begin;
  const auto end = ReadThisThread();
  sample.seconds = result->seconds;
  sample.spin_s = result->spin_seconds;
  if (begin && end) sample.blocked_s = BlockedSeconds(*begin, *end, result->spin_seconds);
  sample.hit_ratio = 1;
  show(result->bytes);
  return sample;
}

}  // namespace

Result<std::unique_ptr<Contender>> MakeRawContender(const DeviceConfig& config,
                                                    const Setting& setting, std::size_t position,
                                                    std::span<std::byte> buffer) {
  auto contender = std::make_unique<RawContender>(config, setting, position);
  if (auto opened = contender->Open(buffer); !opened) return tl::unexpected(opened.error());
  return contender;
}

}  // namespace kvpool::bench
