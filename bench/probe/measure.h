// Measures what a device gives: bandwidth at the depth that saturates it, latency at depth 1.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "device/device.h"
#include "kvpool/result.h"

namespace kvpool::probe {

struct MeasureOptions {
  double seconds = 1;            // for each of write bandwidth, read bandwidth and latency, at most
  std::uint64_t bytes = 0;       // the area that is measured; 0: as much as the device has
  bool write = true;             // off: nothing is changed on the device
  bool accept_buffered = false;  // files: go through the page cache where O_DIRECT is refused
  // Called a few times a second with what is being measured; may be empty.
  std::function<void(const char* what)> progress;
};

struct Measurement {
  std::string description;  // the device's own: the path taken and why
  double read_bytes_per_s = 0;
  double write_bytes_per_s = 0;    // 0: not measured
  double read_latency_us_p50 = 0;  // of 4 KiB at depth 1
  double read_latency_us_p99 = 0;
  std::uint64_t bytes = 0;  // the area that was measured
};

// Writes first (an area that was never written reads too fast), then reads what it wrote. Errors:
// kIoError with the device's name; kNoSpace where buffers find no memory.
Result<Measurement> MeasureDevice(device::Device& device, const MeasureOptions& options);

// Copies to and from memory of a NUMA node with one thread.
Result<Measurement> MeasureMemory(int numa_node, const MeasureOptions& options);

// A file of options.bytes (0: 1 GiB, less where space is short) that is made at `file` and removed.
Result<Measurement> MeasureFile(const std::filesystem::path& file, const MeasureOptions& options);

// A raw drive, by the way that DeviceKind::kDrive takes. With options.write it is held against
// others and its content is kept: what is written back is what was read.
Result<Measurement> MeasureDrive(const std::filesystem::path& path, const MeasureOptions& options);

}  // namespace kvpool::probe
