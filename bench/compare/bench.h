// What `kvpool bench` measures: the same context, stored and brought back by the pool and by what
// it is compared with, in one run on the same devices.
//
//   auto devices = ParseDevices("memory:3000,file:800,file:400,file:200");
//   BenchOptions options{.devices = *devices, .dir = "/mnt/scratch"};
//   auto result = RunBench(options);
//   PrintTable(*result, stdout);
//   WriteJson("out.json", result->header, result->rows);
//   WriteReport("report.html", *result);
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvpool/config.h"
#include "kvpool/result.h"

namespace kvpool::bench {

// --- what to measure ---

struct BenchDevice {
  DeviceKind kind = DeviceKind::kFile;  // kMemory or kFile
  double bytes_per_s = 0;               // emulated; 0: as fast as it is, measured first
  int numa_node = -1;                   // memory only
};

// How a block is made. Llama-3.1-8B in bf16 by default: 128 KiB a token, so 32 MiB a block.
struct Geometry {
  std::string name = "LLaMA-3.1-8B";
  std::uint32_t layers = 32;
  std::uint32_t block_tokens = 256;
  std::uint64_t bytes_per_token = 128 * 1024;  // keys and values, all layers
  std::uint64_t block_bytes() const { return block_tokens * bytes_per_token; }
};

struct Progress {
  std::string step;     // "repeat 2 of 3: serial, prefix 25 %"
  double fraction = 0;  // of the whole run, by expected time; never falls
};

struct BenchOptions {
  std::vector<BenchDevice> devices;
  std::filesystem::path dir;                 // of the file devices; nothing is left there
  std::uint64_t context_bytes = 2ull << 30;  // rounded down to whole blocks, one at least
  std::vector<double> prefix_percent = {5, 25, 50, 100};  // rounded up to whole blocks
  std::vector<std::string> methods = {"pool", "equal", "serial", "serial-direct"};
  std::uint32_t repeat = 3;
  std::optional<double> memory_limit;  // of the context, 0..1: no method keeps more in memory
  bool verify = true;                  // the pool's checksums; delivered bytes are always compared
  bool lease = false;                  // memory is handed out in place, by every method alike
  bool timelines = true;               // one more, untimed, retrieval a method for the report
  bool accept_buffered = false;        // file devices where the filesystem refuses O_DIRECT
  Geometry geometry;
  std::uint64_t unit_bytes = 256 * 1024;
  std::uint64_t seed = 1;
  std::string bench_name = "compare";  // the column `bench`

  std::function<void(const Progress&)> progress;  // may be empty; called by RunBench's thread
  const std::atomic<bool>* stop = nullptr;        // set it (a signal handler may) to end early
};

// "memory:3000,memory@1:3000,file:800,file": MB/s (10^6) after the colon; without: full speed.
Result<std::vector<BenchDevice>> ParseDevices(std::string_view text);
// "5,25,50,100"; each above 0 and at most 100.
Result<std::vector<double>> ParsePercents(std::string_view text);
// "25%" as 0.25.
Result<double> ParseFraction(std::string_view text);
// "pool,serial"; an unknown name is refused with the list of KnownMethods.
Result<std::vector<std::string>> ParseMethods(std::string_view text);
Result<std::vector<std::string>> ParseMethodsOf(std::string_view text,
                                                std::span<const std::string_view> known);
// pool, equal, serial, serial-direct, fio.
std::span<const std::string_view> KnownMethods();
// Every problem that can be told without touching a device, one sentence each; empty when fine.
std::vector<std::string> Validate(const BenchOptions& options);
// The same of what every bench has: prefixes, repeats, context and geometry.
std::vector<std::string> ValidateRun(const BenchOptions& options);

// --- what came out ---

// First object of every JSON result.
struct Header {
  std::string commit;       // of the sources this was built from; "unknown" outside git
  std::string config_hash;  // equal for equal settings
  std::string machine;      // processor, cores, memory, kernel
  std::string date;         // UTC, ISO 8601
};
// `settings` is whatever text names the run's settings completely.
Header MakeHeader(std::string_view settings);

// One case and method. Medians over the repeats; what does not apply is absent.
struct Row {
  std::string bench;
  std::string case_name;  // "prefix=25%", "store"
  std::string method;
  std::uint64_t bytes = 0;
  std::optional<double> seconds = {};
  std::optional<double> bytes_per_s = {};
  std::optional<double> bytes_per_s_min = {};
  std::optional<double> bytes_per_s_max = {};
  std::optional<double> fraction_of_devices = {};  // of the summed bandwidth of all devices
  std::optional<double> cpu_s_per_gib = {};  // all threads of the process, kernel time included
  std::optional<double> blocked_s = {};      // see docs/benchmarks.md
  std::optional<double> spin_s = {};
  std::optional<double> prefix_hit_ratio = {};
  std::optional<double> layer_ratio = {};           // worst; 1: layers arrive exactly in step
  std::optional<double> expected_bytes_per_s = {};  // what arithmetic says of these devices
  std::string note = {};  // what the page cache did; empty: nothing to say
  std::vector<std::pair<std::string, double>> more = {};  // further columns of other benches
};

// What one device did during one retrieval.
struct DeviceTimeline {
  std::string name;
  double bytes_per_s = 0;                 // emulated or measured
  std::vector<std::uint64_t> bytes_read;  // so far, at Timeline::at_s
};
struct Timeline {
  std::string method;
  std::string note;
  std::uint64_t bytes = 0;
  double seconds = 0;
  std::vector<double> at_s;  // ascending, first 0
  std::vector<DeviceTimeline> devices;
};

struct BenchResult {
  Header header;
  std::vector<Row> rows;  // by case, then method, as given
  std::vector<Timeline> timelines;
  std::vector<std::pair<std::string, std::string>> facts;  // the configuration, for people
  std::vector<std::string> warnings;                       // what makes these figures worth less
};

// Runs everything. Checks memory and disk space first. Removes its files on every way out.
// kNoSpace, kInvalid, kUnsupported (io, O_DIRECT), kIoError, kCorrupt (delivered bytes differ),
// kCancelled (stop was set). Threads: one at a time in a process, for its accounting is the
// process's.
Result<BenchResult> RunBench(const BenchOptions& options);

// A pool that is there, as it is: stores a context in it, brings it back, and drops it. What the
// pool holds may be evicted for it. Of `options` the devices, the methods and the unit do not
// count.
Result<BenchResult> RunPoolBench(const Config& config, BenchOptions options);

// --- the demo ---

// What this machine gives, measured in a second or two. 0 where there is none.
struct MachineSpeed {
  double memory_bytes_per_s = 0;  // one thread copying
  double folder_bytes_per_s = 0;  // direct reads of a file in `dir`, deep queue
};
Result<MachineSpeed> MeasureMachine(const std::filesystem::path& dir, std::uint64_t seed = 1);

// One memory device a node and three files of unequal speed that together stay well below what was
// measured; context and blocks scaled to `memory_bytes` and to about a minute in all. Facts say so.
BenchOptions DemoOptions(const std::filesystem::path& dir, const MachineSpeed& speed,
                         std::uint64_t memory_bytes);

// --- writing it down ---

// A list of flat objects: the header, then the rows.
Result<void> WriteJson(const std::filesystem::path& path, const Header& header,
                       std::span<const Row> rows);
// For people: one table a case, with the gain over each method and what arithmetic expects.
void PrintTable(const BenchResult& result, std::FILE* out);
// One self-contained page: the table, the configuration, a picture of each method.
Result<void> WriteReport(const std::filesystem::path& path, const BenchResult& result);

}  // namespace kvpool::bench
