#include "bench/probe/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/limits.h"
#include "base/units.h"
#include "bench/probe/filesystem.h"
#include "bench/probe/load.h"
#include "device/open.h"
#include "kvpool/config.h"
#include "mem/region.h"

namespace kvpool::probe {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kNoiseSeed = 0x9e3779b97f4a7c15;
constexpr std::uint32_t kLatencyBytes = 4096;
constexpr std::uint64_t kLatencySeed = 1;
constexpr std::uint32_t kStreamBytes = 1 << 20;
constexpr std::uint64_t kDefaultFileBytes = kGiB;
constexpr std::uint64_t kMemoryBytes = 256 * kMiB;  // well beyond any cache

std::function<void(std::uint64_t)> Tick(const MeasureOptions& options, const char* what) {
  if (!options.progress) return {};
  return [&options, what](std::uint64_t) { options.progress(what); };
}

// Measures one device through one queue.
class Measuring {
 public:
  Measuring(device::Device& device, LoadRunner& runner, const MeasureOptions& options)
      : runner_(runner), options_(options) {
    const device::Traits& traits = device.traits();
    stream_.io_bytes = std::min(traits.max_io_bytes, kStreamBytes);
    stream_.depth = std::max(1U, traits.depth);
    stream_.seconds = options.seconds;
    const std::uint64_t wanted = options.bytes > 0 ? options.bytes : traits.capacity_bytes;
    stream_.bytes = std::min(wanted, traits.capacity_bytes);
    result_.description = traits.description;
  }

  // Writes the area once so that it is the drive's and not just promised, then again by the clock.
  // What is read afterwards is what was written: areas that never were read too fast.
  Result<void> Write() {
    Load load = stream_;
    load.op = device::Op::kWrite;
    load.once = true;
    const auto filled = runner_.Run(load, Tick(options_, "filling"));
    if (!filled) return tl::unexpected(filled.error());
    stream_.bytes = load.bytes = std::max<std::uint64_t>(filled->bytes, load.io_bytes);
    load.once = false;
    const auto written = runner_.Run(load, Tick(options_, "writing"));
    if (!written) return tl::unexpected(written.error());
    result_.write_bytes_per_s = written->bytes_per_s();
    return {};
  }

  // Reads a batch and writes the same bytes back, so that nothing is lost.
  Result<void> WriteBack() {
    Load load = stream_;
    load.once = true;
    load.bytes = std::uint64_t{load.io_bytes} * load.depth;
    LoadResult total;
    while (total.seconds < options_.seconds && load.first_byte + load.bytes <= stream_.bytes) {
      load.op = device::Op::kRead;
      if (auto read = runner_.Run(load, {}); !read) return tl::unexpected(read.error());
      load.op = device::Op::kWrite;
      const auto written = runner_.Run(load, Tick(options_, "writing"));
      if (!written) return tl::unexpected(written.error());
      total.bytes += written->bytes;
      total.seconds += written->seconds;
      load.first_byte += load.bytes;
    }
    result_.write_bytes_per_s = total.bytes_per_s();
    return {};
  }

  Result<void> Read() {
    const auto done = runner_.Run(stream_, Tick(options_, "reading"));
    if (!done) return tl::unexpected(done.error());
    result_.read_bytes_per_s = done->bytes_per_s();
    result_.bytes = stream_.bytes;
    Load load = stream_;
    load.io_bytes = kLatencyBytes;
    load.depth = 1;
    load.random_seed = kLatencySeed;
    load.seconds = options_.seconds / 2;
    const auto single = runner_.Run(load, Tick(options_, "measuring latency"));
    if (!single) return tl::unexpected(single.error());
    const auto at = [&](double q) {
      const std::size_t count = single->latency_us.size();
      return count == 0
                 ? 0.0
                 : single->latency_us[static_cast<std::size_t>(q * static_cast<double>(count - 1))];
    };
    result_.read_latency_us_p50 = at(0.50);
    result_.read_latency_us_p99 = at(0.99);
    return {};
  }

  const Measurement& result() const { return result_; }

 private:
  LoadRunner& runner_;
  const MeasureOptions& options_;
  Load stream_{};
  Measurement result_;
};

// A drive may notice zeros and not store them.
void FillWithNoise(std::span<std::byte> bytes) {
  std::uint64_t state = kNoiseSeed;
  for (std::size_t i = 0; i + sizeof state <= bytes.size(); i += sizeof state) {
    state ^= state << 13;  // xorshift64
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(bytes.data() + i, &state, sizeof state);
  }
}

enum class WriteHow { kNot, kOver, kBack };

Result<Measurement> Measure(device::Device& device, const MeasureOptions& options, WriteHow how) {
  const device::Traits& traits = device.traits();
  const std::uint64_t in_flight =
      std::uint64_t{std::min(traits.max_io_bytes, kStreamBytes)} * std::max(1U, traits.depth);
  auto region = mem::Region::Make({.bytes = in_flight, .shareable = false});
  if (!region) return tl::unexpected(region.error());
  if (how == WriteHow::kOver) FillWithNoise((*region)->bytes());
  auto runner = LoadRunner::Open(device, (*region)->bytes());
  if (!runner) return tl::unexpected(runner.error());
  Measuring measuring(device, **runner, options);
  Result<void> step;
  if (how == WriteHow::kOver) step = measuring.Write();
  if (how == WriteHow::kBack) step = measuring.WriteBack();
  if (step) step = measuring.Read();
  if (!step) return tl::unexpected(step.error());
  return measuring.result();
}

std::uint64_t FileBytes(const fs::path& file, const MeasureOptions& options) {
  const std::uint64_t wanted = options.bytes > 0 ? options.bytes : kDefaultFileBytes;
  const auto filesystem = FilesystemOf(file.parent_path());
  const std::uint64_t free = filesystem ? filesystem->free_bytes : 0;
  return std::max(std::min(wanted, free / 2) / kSlabBytes, std::uint64_t{1}) * kSlabBytes;
}

}  // namespace

Result<Measurement> MeasureDevice(device::Device& device, const MeasureOptions& options) {
  return Measure(device, options, options.write ? WriteHow::kOver : WriteHow::kNot);
}

Result<Measurement> MeasureMemory(int numa_node, const MeasureOptions& options) {
  DeviceConfig config;
  config.name = fmt::format("memory node {}", numa_node);
  config.kind = DeviceKind::kMemory;
  config.numa_node = numa_node;
  const std::uint64_t wanted = options.bytes > 0 ? options.bytes : kMemoryBytes;
  config.capacity_bytes = std::max(wanted / kSlabBytes, std::uint64_t{1}) * kSlabBytes;
  auto device = device::OpenDevice(config, {.lock_memory = false});
  if (!device) return tl::unexpected(device.error());
  return MeasureDevice(**device, options);
}

Result<Measurement> MeasureFile(const fs::path& file, const MeasureOptions& options) {
  DeviceConfig config;
  config.name = file.parent_path().string();
  config.path = file;
  config.capacity_bytes = FileBytes(file, options);
  config.accept_buffered = options.accept_buffered;
  device::CreateOptions create;
  create.label = {.pool_id = 1, .device_id = 1};  // removed before anyone could ask
  if (auto created = device::CreateDevice(config, create); !created) {
    return tl::unexpected(created.error());
  }
  auto device = device::OpenDevice(config);
  std::error_code ignored;
  fs::remove(file, ignored);  // the open descriptor keeps it until the end, however that comes
  if (!device) return tl::unexpected(device.error());
  return MeasureDevice(**device, options);
}

Result<Measurement> MeasureDrive(const fs::path& path, const MeasureOptions& options) {
  const DeviceConfig config{.name = path.string(), .kind = DeviceKind::kDrive, .path = path};
  device::OpenOptions open;
  open.raw_use = options.write ? device::RawUse::kMeasure : device::RawUse::kMeasureReads;
  auto device = device::OpenDevice(config, open);
  if (!device) return tl::unexpected(device.error());
  return Measure(**device, options, options.write ? WriteHow::kBack : WriteHow::kNot);
}

}  // namespace kvpool::probe
