// adaptation_bench: a device is throttled to half while contexts are written and read; how soon
// does it get the right share of what is written next?
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/limits.h"
#include "bench/compare/content.h"
#include "bench/compare/scratch.h"
#include "kvpool/pool.h"

namespace kvpool::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kThrottledShare = 0.5;  // of its speed
constexpr double kNear = 0.1;            // of the right share
constexpr std::size_t kBlocks = 64;
constexpr std::size_t kBlockBytes = 2 * kMiB;

struct Options {
  std::string dir = "/dev/shm";
  std::string json;
  bool adapt = true;
  double phase_s = 8;
};

// Memory, the drive that is throttled, and two that are not.
struct Speeds {
  double memory = 600e6;
  double victim = 400e6;
  double other = 200e6;
  double Sum(double victims) const { return memory + victims + 2 * other; }
};

template <class T>
T Must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

DeviceConfig Device(const std::string& name, const std::filesystem::path& dir, double rate) {
  DeviceConfig device;
  device.name = name;
  device.kind = dir.empty() ? DeviceKind::kMemory : DeviceKind::kFile;
  if (!dir.empty()) device.path = dir / name;
  device.capacity_bytes = 512 * kMiB;
  device.read_bytes_per_s = device.write_bytes_per_s = rate;
  device.slow = SlowConfig{.bytes_per_s = rate};
  return device;
}

// One context that was written, read back and dropped.
struct Round {
  double at_s = 0;       // when it was put
  double share = 0;      // the victim's, of what was written
  double get_speed = 0;  // bytes/s
};

class Bench {
 public:
  Bench(const Options& options, const std::filesystem::path& dir) : options_(options) {
    Config config{.create_if_missing = true};
    config.adapt = options.adapt;
    config.devices = {Device("memory", {}, speeds_.memory), Device("victim", dir, speeds_.victim),
                      Device("other0", dir, speeds_.other), Device("other1", dir, speeds_.other)};
    config.devices[1].slow->later = {{options.phase_s, kThrottledShare * speeds_.victim},
                                     {2 * options.phase_s, speeds_.victim}};
    start_ = Clock::now();
    pool_ = Must(Pool::Open(config));
    channel_ = Must(pool_->OpenChannel());
    space_ = Must(pool_->OpenSpace({.model = "bench", .layers = 32}));
    memory_ = Must(pool_->Allocate(2 * kBlocks * kBlockBytes));
    std::byte* at = memory_->bytes().data();
    for (std::size_t b = 0; b < kBlocks; ++b) {
      names_.push_back(fmt::format("block-{:04}", b));
      from_.push_back({at + b * kBlockBytes, kBlockBytes});
      into_.push_back({at + (kBlocks + b) * kBlockBytes, kBlockBytes});
      FillBlock(1, b, {from_.back().data, kBlockBytes});
    }
    keys_.assign(names_.begin(), names_.end());
  }

  // Until the end of the third phase: before, throttled, recovered.
  void Run() {
    while (Since(start_) < 3 * options_.phase_s) rounds_.push_back(Once());
  }

  double RightShare(int phase) const { return Victim(phase) / speeds_.Sum(Victim(phase)); }
  double ShareAtEnd(int phase) const { return Last(phase).share; }
  double GetOverSumAtEnd(int phase) const {
    return Last(phase).get_speed / speeds_.Sum(Victim(phase));
  }
  // From a phase's start to the first put from which on every share is near the right one.
  double SecondsToRightShare(int phase) const {
    double near_since = phase * options_.phase_s;
    for (const Round& round : rounds_) {
      if (PhaseOf(round) != phase) continue;
      const bool near = std::abs(round.share / RightShare(phase) - 1) <= kNear;
      if (!near) near_since = -1;
      if (near && near_since < 0) near_since = round.at_s;
    }
    return near_since < 0 ? options_.phase_s : near_since - phase * options_.phase_s;
  }

  void PrintRounds() const {
    double next_s = 0;
    fmt::print("{:>6}  {:>7}  {:>7}  {:>12}\n", "s", "share", "right", "get over sum");
    for (const Round& round : rounds_) {
      if (round.at_s < next_s) continue;
      next_s = round.at_s + 0.5;
      const int phase = PhaseOf(round);
      fmt::print("{:>6.1f}  {:>7.4f}  {:>7.4f}  {:>12.3f}\n", round.at_s, round.share,
                 RightShare(phase), round.get_speed / speeds_.Sum(Victim(phase)));
    }
  }

 private:
  double Victim(int phase) const {
    return phase == 1 ? kThrottledShare * speeds_.victim : speeds_.victim;
  }
  int PhaseOf(const Round& round) const {
    return std::min(2, static_cast<int>(round.at_s / options_.phase_s));
  }
  const Round& Last(int phase) const {
    const Round* last = &rounds_.front();
    for (const Round& round : rounds_) {
      if (PhaseOf(round) == phase) last = &round;
    }
    return *last;
  }

  Round Once() {
    Round round{.at_s = Since(start_)};
    const PoolInfo before = pool_->info();
    PutRequest put;
    put.from = from_;
    put.ordinal = 0;
    Do(put);
    const PoolInfo after = pool_->info();
    round.share =
        static_cast<double>(after.devices[1].bytes_written - before.devices[1].bytes_written) /
        static_cast<double>(kBlocks * kBlockBytes);
    const auto begin = Clock::now();
    GetRequest get;
    get.into = into_;
    Do(get);
    round.get_speed = static_cast<double>(kBlocks * kBlockBytes) / Since(begin);
    DropRequest drop;
    Do(drop);
    return round;
  }

  template <class AnyRequest>
  void Do(AnyRequest& request) {
    request.space = space_;
    request.keys = keys_;
    if (channel_->Submit(request) != Status::kOk) throw std::runtime_error("a request is refused");
    Request* done = nullptr;
    while (channel_->Poll({&done, 1}) == 0) channel_->Wait(std::chrono::seconds(1));
    for (const Status status : request.results()) {
      if (status != Status::kOk) throw std::runtime_error(std::string(ToString(status)));
    }
  }

  const Options options_;
  const Speeds speeds_;
  Clock::time_point start_;
  std::unique_ptr<Pool> pool_;
  std::unique_ptr<Channel> channel_;
  std::shared_ptr<Memory> memory_;
  Space space_;
  std::vector<std::string> names_;
  std::vector<Key> keys_;
  std::vector<Segment> from_;
  std::vector<Segment> into_;
  std::vector<Round> rounds_;
};

void Measure(const Options& options) {
  const Scratch scratch = Must(Scratch::Make(options.dir));
  Bench bench(options, scratch.path());
  bench.Run();
  bench.PrintRounds();
  std::ofstream json;
  if (!options.json.empty()) json.open(options.json);
  const std::vector<std::string> phases{"before", "throttled", "recovered"};
  for (int phase = 0; phase < 3; ++phase) {
    const double seconds = bench.SecondsToRightShare(phase);
    fmt::print(
        "{}: share {:.4f}, right {:.4f}, within 10 % after {:.2f} s, get {:.3f} of the sum\n",
        phases[phase], bench.ShareAtEnd(phase), bench.RightShare(phase), seconds,
        bench.GetOverSumAtEnd(phase));
    if (!json.is_open()) continue;
    json << nlohmann::json{{"bench", "adaptation"},
                           {"case", phases[phase]},
                           {"method", options.adapt ? "pool" : "configured shares"},
                           {"share", bench.ShareAtEnd(phase)},
                           {"right_share", bench.RightShare(phase)},
                           {"seconds", seconds},
                           {"fraction_of_devices", bench.GetOverSumAtEnd(phase)}}
                .dump()
         << std::endl;
  }
}

}  // namespace
}  // namespace kvpool::bench

int main(int argc, char** argv) {
  kvpool::bench::Options options;
  CLI::App app("How soon a device that is throttled gets the right share of what is written next.");
  app.add_option("--dir", options.dir, "where the emulated drives lie");
  app.add_option("--adapt", options.adapt, "false: by configured speeds, for comparison");
  app.add_option("--phase", options.phase_s, "seconds before, throttled, recovered")
      ->check(CLI::Range(1, 600));
  app.add_option("--json", options.json, "write one JSON object a line to this file");
  CLI11_PARSE(app, argc, argv);
  try {
    kvpool::bench::Measure(options);
  } catch (const std::exception& problem) {
    fmt::print(stderr, "adaptation_bench: {}\n", problem.what());
    return 1;
  }
  return 0;
}
