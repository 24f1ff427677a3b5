// device_bench: what one file device gives at full speed, and what it costs the processor, beside
// fio's io_uring on the same file in the same run.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <vector>

#include "base/clock.h"
#include "base/units.h"
#include "device/open.h"
#include "mem/buffer_pool.h"
#include "mem/region.h"

namespace {

using namespace kvpool;

struct Options {
  std::string folder = "/var/tmp";
  std::string bytes = "4GiB";
  std::string request = "1MiB";
  std::uint32_t depth = 32;
  int repeat = 3;
  bool threads = false;
  std::string json;
};

struct Figures {
  std::string method;
  double seconds = 0;
  double cpu_s = 0;
};

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

double CpuSeconds(int who) {
  rusage usage{};
  ::getrusage(who, &usage);
  return Seconds(usage.ru_utime) + Seconds(usage.ru_stime);
}

[[noreturn]] void Give(const Error& error) {
  fmt::print(stderr, "device_bench: {}\n", error.message);
  std::exit(1);
}

template <class T>
T Take(Result<T> result) {
  if (!result) Give(result.error());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// Runs the whole device through `depth` buffers, as a lane does: asleep while nothing is done.
class Pass {
 public:
  Pass(device::Device& device, std::span<std::byte> memory, std::uint32_t request,
       std::uint32_t depth)
      : request_(request), event_fd_(::eventfd(0, EFD_CLOEXEC)), buffers_(memory, request) {
    queue_ = Take(device.OpenQueue({.event_fd = event_fd_}));
    slots_.resize(depth);
    for (auto& slot : slots_) {
      slot.segment = {buffers_.Get(), request};
      slot.io.segments = {&slot.segment, 1};
      slot.io.bytes = request;
    }
  }
  ~Pass() {
    queue_.reset();
    ::close(event_fd_);
  }

  void Run(device::Op op, std::uint64_t bytes) {
    std::uint64_t next = 0;
    std::uint64_t done = 0;
    std::vector<device::Io*> ready;
    for (auto& slot : slots_) ready.push_back(&slot.io);
    while (done < bytes) {
      std::size_t count = 0;
      while (count < ready.size() && next < bytes) {
        ready[count]->op = op;
        ready[count++]->offset = next;
        next += request_;
      }
      if (queue_->Submit(std::span(ready).first(count)) != count) std::abort();
      ready.resize(slots_.size());
      const std::size_t got = queue_->Poll(ready);
      ready.resize(got);
      for (const auto* io : ready) {
        if (io->status != Status::kOk) {
          Give({.message =
                    fmt::format("an I/O at {} ended with: {}", io->offset, ToString(io->status))});
        }
      }
      done += got * request_;
      if (got == 0) Sleep();
    }
  }

 private:
  struct Slot {
    device::Io io;
    iovec segment;
  };

  void Sleep() const {
    std::uint64_t events;
    if (::read(event_fd_, &events, sizeof events) < 0 && errno != EINTR) std::abort();
  }

  std::uint32_t request_;
  int event_fd_;
  mem::BufferPool buffers_;
  std::unique_ptr<device::Queue> queue_;
  std::vector<Slot> slots_;
};

Figures Measure(Pass& pass, device::Op op, std::uint64_t bytes, std::string method) {
  const auto start = Clock::Monotonic().NowNs();
  const double cpu = CpuSeconds(RUSAGE_SELF);
  pass.Run(op, bytes);
  return {.method = std::move(method),
          .seconds = static_cast<double>(Clock::Monotonic().NowNs() - start) / 1e9,
          .cpu_s = CpuSeconds(RUSAGE_SELF) - cpu};
}

std::uint64_t FreeHugepages() {
  std::ifstream file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
  std::uint64_t count = 0;
  file >> count;
  return count;
}

// fio's own account of time; processor time of its whole process, less what it needs to start.
Figures MeasureFio(const Options& options, const std::string& file, std::uint64_t request,
                   std::uint64_t bytes, bool hugepages) {
  const auto run = [&](std::uint64_t size) {
    const std::string command = fmt::format(
        "fio --name=read --filename={} --offset={} --size={} --rw=read --ioengine=io_uring "
        "--direct=1 "
        "--bs={} --iodepth={} --iomem={} --thread --output-format=json 2>/dev/null",
        file, device::kLabelAreaBytes, size, request, options.depth,
        hugepages ? "mmaphuge" : "mmap");
    const double before = CpuSeconds(RUSAGE_CHILDREN);
    FILE* pipe = ::popen(command.c_str(), "r");
    std::string text;
    std::array<char, 4096> part;
    for (std::size_t got; (got = std::fread(part.data(), 1, part.size(), pipe)) > 0;) {
      text.append(part.data(), got);
    }
    if (::pclose(pipe) != 0)
      Give({.message = "fio failed: install it, or try it by hand: " + command});
    const auto read = nlohmann::json::parse(text).at("jobs").at(0).at("read");
    return Figures{.method = hugepages ? "fio" : "fio-small-pages",
                   .seconds = read.at("runtime").get<double>() / 1e3,
                   .cpu_s = CpuSeconds(RUSAGE_CHILDREN) - before};
  };
  Figures figures = run(bytes);
  figures.cpu_s = std::max(0.0, figures.cpu_s - run(request).cpu_s);
  return figures;
}

void WriteJson(const Options& options, const std::vector<Figures>& all, std::uint64_t bytes) {
  if (options.json.empty()) return;
  utsname machine{};
  ::uname(&machine);
  auto rows = nlohmann::json::array();
  rows.push_back(
      {{"bench", "device"}, {"machine", fmt::format("{} {}", machine.sysname, machine.release)}});
  for (const auto& figures : all) {
    rows.push_back({{"bench", "device"},
                    {"case", options.folder},
                    {"method", figures.method},
                    {"bytes", bytes},
                    {"seconds", figures.seconds},
                    {"bytes_per_s", static_cast<double>(bytes) / figures.seconds},
                    {"cpu_s_per_gib", figures.cpu_s * kGiB / static_cast<double>(bytes)}});
  }
  std::ofstream(options.json) << rows.dump(2) << '\n';
}

void Print(const Figures& figures, std::uint64_t bytes) {
  const auto size = static_cast<double>(bytes);
  fmt::print("{:<18}{:>12}{:>10.4f} CPU s/GiB\n", figures.method,
             FormatRate(size / figures.seconds), figures.cpu_s * kGiB / size);
}

Figures Median(std::vector<Figures> all) {
  const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
  std::nth_element(all.begin(), middle, all.end(),
                   [](const auto& a, const auto& b) { return a.seconds < b.seconds; });
  Figures median = *middle;
  std::nth_element(all.begin(), middle, all.end(),
                   [](const auto& a, const auto& b) { return a.cpu_s < b.cpu_s; });
  median.cpu_s = middle->cpu_s;
  return median;
}

std::vector<Figures> Compare(const Options& options, const DeviceConfig& config,
                             std::uint32_t request) {
  const std::uint64_t bytes = config.capacity_bytes;
  auto device = Take(device::OpenDevice(config, {.avoid_io_uring = options.threads}));
  auto memory = Take(
      mem::Region::Make({.bytes = std::uint64_t{request} * options.depth, .shareable = false}));
  fmt::print("device: {}\nbuffers: {}\n{} in requests of {}, {} at once\n",
             device->traits().description, memory->description(), FormatBytes(bytes),
             FormatBytes(request), options.depth);
  Pass pass(*device, memory->bytes(), request, options.depth);
  std::vector<Figures> results{Measure(pass, device::Op::kWrite, bytes, "kvpool-write")};
  const bool hugepages =
      FreeHugepages() * 2 * kMiB >= (std::uint64_t{request} * options.depth + 2 * kMiB);
  if (!hugepages) fmt::print("fio gets small pages: for hugepages, sysctl vm.nr_hugepages=64\n");
  std::vector<Figures> ours;
  std::vector<Figures> fio;
  for (int i = 0; i < options.repeat; ++i) {
    ours.push_back(Measure(pass, device::Op::kRead, bytes, "kvpool"));
    fio.push_back(MeasureFio(options, config.path, request, bytes, hugepages));
    fmt::print("  {}: kvpool {:.3f} s, {:.3f} CPU s; fio {:.3f} s, {:.3f} CPU s\n", i + 1,
               ours.back().seconds, ours.back().cpu_s, fio.back().seconds, fio.back().cpu_s);
  }
  results.push_back(Median(ours));
  results.push_back(Median(fio));
  return results;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("What one file device gives at full speed and costs, beside fio on the same file");
  app.add_option("--dir", options.folder, "Folder for the file")->capture_default_str();
  app.add_option("--bytes", options.bytes, "Size of the file")->capture_default_str();
  app.add_option("--request", options.request, "Bytes of one read")->capture_default_str();
  app.add_option("--depth", options.depth, "Reads in flight")
      ->capture_default_str()
      ->check(CLI::Range(1, 128));
  app.add_option("--repeat", options.repeat, "Times; medians are shown")
      ->capture_default_str()
      ->check(CLI::Range(1, 100));
  app.add_flag("--threads", options.threads, "Use the threads that stand in for io_uring");
  app.add_option("--json", options.json, "Write the figures there");
  CLI11_PARSE(app, argc, argv);

  DeviceConfig config;
  config.name = "bench";
  config.path =
      std::filesystem::path(options.folder) / fmt::format("kvpool-device-bench-{}", ::getpid());
  config.capacity_bytes = Take(ParseBytes(options.bytes));
  const auto request = static_cast<std::uint32_t>(Take(ParseBytes(options.request)));
  device::CreateOptions creation;
  creation.label.pool_id = creation.label.device_id = 1;
  Take(device::CreateDevice(config, creation));
  std::vector<Figures> results;
  {
    struct Remover {
      const DeviceConfig& config;
      ~Remover() { ::unlink(config.path.c_str()); }
    } remover{config};
    results = Compare(options, config, request);
  }
  for (const auto& figures : results) Print(figures, config.capacity_bytes);
  WriteJson(options, results, config.capacity_bytes);
  return 0;
}
