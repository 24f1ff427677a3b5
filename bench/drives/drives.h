// What `kvpool bench-drives` measures: the same context on the same drives, read through a
// filesystem, through the block layer, past both, and by a pool over each of these paths.
//
//   DrivesOptions options{.drives = {"/dev/nvme0n1", "/dev/nvme1n1"}, .memory_bytes_per_s = 1.5e9};
//   auto result = RunDrivesBench(options);    // a bench::BenchResult, as of `kvpool bench`
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bench/compare/bench.h"
#include "kvpool/result.h"

namespace kvpool::bench {

struct DrivesOptions {
  std::vector<std::filesystem::path> drives;  // whole ones, by block device: what they hold is lost
  double memory_bytes_per_s = 0;              // an emulated memory device beside them; 0: none
  bool erase = false;  // also drives that carry something; never ones that are mounted or in use
  BenchOptions bench;  // context, prefixes, methods, repeats, verify; its devices are made here
};

// serial             memory first, then files on the fastest drive's ext4, as caches do
// ext4-buffered      the context on the fastest drive alone: files on ext4, cold page cache
// ext4-direct        the same with O_DIRECT
// block, nvme, spdk  the same without a filesystem, by that back end's queue
// pool-block, ...    the pool over all drives, by that back end, and memory
// fio-block, fio-nvme  fio's io_uring and io_uring_cmd on all drives at once: the roofline
// spdk-perf          SPDK's own, where its program is installed
std::span<const std::string_view> DriveMethods();
// As ParseMethods, of these.
Result<std::vector<std::string>> ParseDriveMethods(std::string_view text);

// Fills the drives' first part, measures each alone, then runs every method in turn. Leaves the
// drives blank. kInvalid (not a drive, mounted), kExists (carries something, no `erase`), and as
// RunBench.
Result<BenchResult> RunDrivesBench(DrivesOptions options);

// The filesystem's cost on this machine's own disk: the same bytes in a file in `dir`, buffered and
// direct, and through a loop device over such a file, past the filesystem's page cache
// (file-buffered, file-direct, loop). Without the right to make a loop device the last is left out,
// with a warning. `options`: as of RunBench; methods and devices are made here.
Result<BenchResult> RunDiskBench(BenchOptions options);

}  // namespace kvpool::bench
