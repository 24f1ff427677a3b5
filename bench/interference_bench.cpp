// interference_bench: how long gets take alone, and while writers put as fast as the devices take
// it.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/limits.h"
#include "bench/compare/content.h"
#include "bench/compare/scratch.h"
#include "kvpool/pool.h"

namespace kvpool::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBlockBytes = 2 * kMiB;
constexpr std::size_t kRounds =
    10;  // alone and with writers take turns, so that both see the same machine

struct Options {
  std::string dir = "/dev/shm";
  std::string json;
  std::size_t blocks = 64;
  std::size_t gets = 300;
  std::size_t writers = 2;
  int pause_ms = 100;  // between gets: writers then have the devices half of the time
};

template <class T>
T Must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

DeviceConfig Device(const std::string& name, const std::filesystem::path& dir, double rate) {
  DeviceConfig device;
  device.name = name;
  device.kind = dir.empty() ? DeviceKind::kMemory : DeviceKind::kFile;
  if (!dir.empty()) device.path = dir / name;
  device.capacity_bytes = static_cast<std::uint64_t>(rate / 200e6 * 256 * kMiB);
  device.read_bytes_per_s = device.write_bytes_per_s = rate;
  device.slow = SlowConfig{.bytes_per_s = rate};
  return device;
}

std::unique_ptr<Pool> OpenPool(const std::filesystem::path& dir) {
  Config config{.create_if_missing = true};
  config.devices = {Device("memory", {}, 600e6), Device("ssd0", dir, 400e6),
                    Device("ssd1", dir, 200e6), Device("ssd2", dir, 200e6)};
  return Must(Pool::Open(config));
}

// One thread's channel, and a context's worth of its own memory.
class Client {
 public:
  Client(Pool& pool, Space space, std::size_t blocks, std::uint64_t seed)
      : space_(space),
        channel_(Must(pool.OpenChannel())),
        memory_(Must(pool.Allocate(blocks * kBlockBytes))) {
    for (std::size_t b = 0; b < blocks; ++b) {
      segments_.push_back({memory_->bytes().data() + b * kBlockBytes, kBlockBytes});
      FillBlock(seed, b, {segments_.back().data, kBlockBytes});
    }
  }

  void Put(const std::string& context) {
    PutRequest put;
    put.from = segments_;
    put.ordinal = 0;
    Do(put, context);
  }

  // Seconds; none when a block was not there.
  std::optional<double> Get(const std::string& context) {
    GetRequest get;
    get.into = segments_;
    const auto begin = Clock::now();
    Do(get, context);
    const std::chrono::duration<double> took = Clock::now() - begin;
    const auto found = [](Status status) { return status == Status::kOk; };
    if (!std::all_of(get.results().begin(), get.results().end(), found)) return std::nullopt;
    return took.count();
  }

 private:
  template <class AnyRequest>
  void Do(AnyRequest& request, const std::string& context) {
    names_.clear();
    for (std::size_t b = 0; b < segments_.size(); ++b)
      names_.push_back(fmt::format("{}/{}", context, b));
    keys_.assign(names_.begin(), names_.end());
    request.space = space_;
    request.keys = keys_;
    if (channel_->Submit(request) != Status::kOk) throw std::runtime_error("a request is refused");
    Request* done = nullptr;
    while (channel_->Poll({&done, 1}) == 0) channel_->Wait(std::chrono::seconds(1));
  }

  Space space_;
  std::unique_ptr<Channel> channel_;
  std::shared_ptr<Memory> memory_;
  std::vector<Segment> segments_;
  std::vector<std::string> names_;
  std::vector<Key> keys_;
};

// Puts contexts of one's own until told to stop; old ones are evicted for them.
class Writers {
 public:
  Writers(Pool& pool, Space space, const Options& options) {
    for (std::size_t i = 0; i < options.writers; ++i)
      clients_.push_back(std::make_unique<Client>(pool, space, options.blocks, 2 + i));
  }
  void Start() {
    stop_ = false;
    for (std::size_t i = 0; i < clients_.size(); ++i) {
      threads_.emplace_back([this, i] {
        while (!stop_) clients_[i]->Put(fmt::format("w{}-{}", i, next_++));
      });
    }
  }
  void Stop() {
    stop_ = true;
    threads_.clear();
  }

 private:
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<std::jthread> threads_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> next_{0};
};

struct Phase {
  std::vector<double> seconds;
  std::size_t missed = 0;
  double written_bytes = 0;
  double lasted_s = 0;

  double Quantile(double q) {
    std::sort(seconds.begin(), seconds.end());
    return seconds[static_cast<std::size_t>(q * static_cast<double>(seconds.size() - 1))];
  }
};

std::uint64_t Written(const Pool& pool) {
  std::uint64_t bytes = 0;
  for (const DeviceInfo& device : pool.info().devices) bytes += device.bytes_written;
  return bytes;
}

void Gets(const Pool& pool, Client& reader, const Options& options, Phase& phase) {
  const auto begin = Clock::now();
  const std::uint64_t before = Written(pool);
  for (std::size_t i = 0; i < options.gets / kRounds; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(options.pause_ms));
    const auto seconds = reader.Get("read");
    if (seconds) phase.seconds.push_back(*seconds);
    phase.missed += !seconds;
  }
  phase.written_bytes += static_cast<double>(Written(pool) - before);
  phase.lasted_s += std::chrono::duration<double>(Clock::now() - begin).count();
}

nlohmann::json Row(const std::string& name, Phase& phase) {
  const double written = phase.written_bytes / phase.lasted_s;
  fmt::print(
      "{:<13} {:>5} gets, {} missed: p50 {:.1f} ms, p99 {:.1f} ms; {:.0f} MB/s written meanwhile\n",
      name, phase.seconds.size(), phase.missed, 1e3 * phase.Quantile(0.5),
      1e3 * phase.Quantile(0.99), written / 1e6);
  return {{"bench", "interference"},       {"case", name},
          {"gets", phase.seconds.size()},  {"missed", phase.missed},
          {"p50_s", phase.Quantile(0.5)},  {"p99_s", phase.Quantile(0.99)},
          {"written_bytes_per_s", written}};
}

void Measure(const Options& options) {
  const Scratch scratch = Must(Scratch::Make(options.dir));
  const auto pool = OpenPool(scratch.path());
  const Space space = Must(pool->OpenSpace({.model = "bench", .layers = 32}));
  Client reader(*pool, space, options.blocks, 1);
  reader.Put("read");
  Phase alone;
  Phase beside;
  {
    Writers writers(*pool, space, options);
    for (std::size_t round = 0; round < kRounds; ++round) {
      Gets(*pool, reader, options, alone);
      writers.Start();
      Gets(*pool, reader, options, beside);
      writers.Stop();
    }
  }
  if (alone.seconds.empty() || beside.seconds.empty())
    throw std::runtime_error("no get found its blocks");
  const nlohmann::json rows[] = {Row("alone", alone), Row("with writers", beside)};
  fmt::print("p99 with writers over alone: {:.2f}\n", beside.Quantile(0.99) / alone.Quantile(0.99));
  if (options.json.empty()) return;
  std::ofstream json(options.json);
  for (const auto& row : rows) json << row.dump() << '\n';
}

}  // namespace
}  // namespace kvpool::bench

int main(int argc, char** argv) {
  kvpool::bench::Options options;
  CLI::App app("How long gets take alone, and while writers put as fast as the devices take it.");
  app.add_option("--dir", options.dir, "where the emulated drives lie");
  app.add_option("--blocks", options.blocks, "of 2 MiB, of a get")->check(CLI::Range(1, 64));
  app.add_option("--gets", options.gets, "in each of the two cases")->check(CLI::Range(20, 100000));
  app.add_option("--writers", options.writers, "threads")->check(CLI::Range(0, 16));
  app.add_option("--pause", options.pause_ms, "ms between gets")->check(CLI::Range(0, 10000));
  app.add_option("--json", options.json, "write one JSON object a line to this file");
  CLI11_PARSE(app, argc, argv);
  try {
    kvpool::bench::Measure(options);
  } catch (const std::exception& problem) {
    fmt::print(stderr, "interference_bench: {}\n", problem.what());
    return 1;
  }
  return 0;
}
