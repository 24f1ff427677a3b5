// faults_bench: one of four equal devices stops in the middle of a get. How long the get takes,
// what is lost, and what bandwidth new contexts have on the three that are left.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/limits.h"
#include "device/open.h"
#include "pool/pool_impl.h"

namespace {

using namespace kvpool;
using Seconds = std::chrono::duration<double>;

struct Options {
  std::uint64_t context_mib = 128;
  int contexts = 4;
  int repeat = 3;
  double rate = 100e6;
  int deadline_ms = 500;
  bool wait = false;  // the control
  std::string json;
};

constexpr std::uint64_t kBlock = 2 * kMiB;

// The control: nothing can be taken from under a transfer, so each is waited for.
class NoDetacher final : public mem::Detacher {
 public:
  bool Detach(std::span<const iovec>) override { return false; }
};

[[noreturn]] void Stop(const std::string& why) {
  fmt::print(stderr, "faults_bench: {}\n", why);
  std::exit(1);
}

// The last of the four holds every read, and gives it back after three seconds.
DeviceConfig DeviceOf(const Options& options, int position) {
  DeviceConfig device;
  device.name = fmt::format("device{}", position);
  device.kind = DeviceKind::kMemory;
  device.capacity_bytes = 2 * (options.contexts + options.repeat) * options.context_mib * kMiB / 4;
  device.capacity_bytes = (device.capacity_bytes / kSlabBytes + 1) * kSlabBytes;
  device.read_bytes_per_s = device.write_bytes_per_s = options.rate;
  device.slow = SlowConfig{.bytes_per_s = options.rate};
  if (position == 3) device.faults = "read.hold ms=3000";
  return device;
}

std::unique_ptr<pool::PoolImpl> OpenPool(const Options& options) {
  static NoDetacher none;
  pool::PoolParts parts{.clock = &Clock::Monotonic()};
  parts.detacher = options.wait ? &none : nullptr;
  for (int i = 0; i < 4; ++i) {
    const DeviceConfig config = DeviceOf(options, i);
    auto device = device::OpenDevice(config);
    if (!device) Stop(device.error().message);
    parts.config.devices.push_back(config);
    parts.devices.push_back({config, std::move(*device)});
  }
  auto pool = pool::PoolImpl::Open(std::move(parts));
  if (!pool) Stop(pool.error().message);
  return std::move(*pool);
}

struct Context {
  Context(const std::string& name, std::uint64_t bytes) {
    for (std::uint64_t i = 0; i < bytes / kBlock; ++i)
      names.push_back(fmt::format("{}/{}", name, i));
    keys.assign(names.begin(), names.end());
  }
  std::vector<std::string> names;
  std::vector<Key> keys;
};

class Run {
 public:
  Run(const Options& options, bool plain) : options_(options), pool_(OpenPool(options)) {
    const std::uint64_t bytes = options.context_mib * kMiB;
    space_ = pool_->OpenSpace({.model = "faults", .layers = 32}).value();
    channel_ = pool_->OpenChannel({}).value();
    allocated_ = pool_->Allocate(bytes, -1, false).value();
    plain_.reset(static_cast<std::byte*>(std::aligned_alloc(4096, bytes)));
    std::byte* const memory = plain ? plain_.get() : allocated_->bytes().data();
    std::memset(memory, 7, bytes);
    for (std::uint64_t at = 0; at < bytes; at += kBlock) segments_.push_back({memory + at, kBlock});
  }

  nlohmann::json Measure(const std::string& memory) {
    std::vector<Context> stored;
    const std::uint64_t bytes = options_.context_mib * kMiB;
    for (int i = 0; i < options_.contexts; ++i) stored.emplace_back(fmt::format("s{}", i), bytes);
    for (const Context& context : stored) Put(context);
    const double first_s = Get(stored[0], options_.deadline_ms).first;
    const double next_s = Get(stored[1], options_.deadline_ms).first;
    const bool drained = pool_->info().devices[3].state == DeviceState::kDrained;
    Settle();
    int lost = 0;
    for (const Context& context : stored) {
      lost += pool_->Match(space_, context.keys) < context.keys.size();
    }
    std::vector<double> rates;
    for (int i = 0; i < options_.repeat; ++i) {
      const Context fresh(fmt::format("f{}", i), bytes);
      Put(fresh);
      const auto [seconds, good] = Get(fresh, 60'000);
      rates.push_back(good ? static_cast<double>(bytes) / seconds : 0);
    }
    std::sort(rates.begin(), rates.end());
    return {{"bench", "faults"},
            {"case", memory},
            {"deadline_ms", options_.deadline_ms},
            {"first_get_ms", 1e3 * first_s},
            {"next_get_ms", 1e3 * next_s},
            {"drained", drained},
            {"contexts_lost", static_cast<double>(lost) / options_.contexts},
            {"new_bytes_per_s", rates[rates.size() / 2]},
            {"new_over_remaining", rates[rates.size() / 2] / (3 * options_.rate)}};
  }

 private:
  struct Freed {
    void operator()(std::byte* memory) const { std::free(memory); }
  };

  void Complete(Request& request, Status submitted) {
    if (submitted != Status::kOk) Stop("the pool refused a request of its own bench");
    Request* done = nullptr;
    while (channel_->Poll({&done, 1}) == 0) channel_->Wait(std::chrono::seconds(1));
    if (done != &request) Stop("another request came back");
  }

  void Put(const Context& context) {
    PutRequest put;
    put.space = space_;
    put.keys = context.keys;
    put.from = segments_;
    put.ordinal = 0;
    Complete(put, channel_->Submit(put));
    for (const Status status : put.results()) {
      if (status != Status::kOk) Stop(fmt::format("a put failed: {}", ToString(status)));
    }
  }

  // After a flush what lay on the device has been swept.
  void Settle() {
    FlushRequest flush;
    flush.space = space_;
    Complete(flush, channel_->Submit(flush));
  }

  std::pair<double, bool> Get(const Context& context, int deadline_ms) {
    GetRequest get;
    get.space = space_;
    get.keys = context.keys;
    get.into = segments_;
    get.deadline = std::chrono::milliseconds(deadline_ms);
    const auto begin = std::chrono::steady_clock::now();
    Complete(get, channel_->Submit(get));
    const double seconds = Seconds(std::chrono::steady_clock::now() - begin).count();
    const auto results = get.results();
    return {seconds, std::all_of(results.begin(), results.end(),
                                 [](Status status) { return status == Status::kOk; })};
  }

  const Options options_;
  std::unique_ptr<pool::PoolImpl> pool_;
  Space space_;
  std::shared_ptr<Memory> allocated_;
  std::unique_ptr<std::byte, Freed> plain_;
  std::vector<Segment> segments_;
  std::unique_ptr<Channel> channel_;
};

bool Print(const nlohmann::json& row) {
  const double first_ms = row["first_get_ms"];
  const double limit_ms = row["deadline_ms"].get<double>() + 100;
  const double ratio = row["new_over_remaining"];
  fmt::print(
      "{}: the get on the device that stopped took {:.0f} ms (at most {:.0f}), the next one "
      "{:.0f}; "
      "{:.0f} % of the stored contexts lost; new contexts come at {:.3f} of the sum of the others "
      "(at least 0.95)\n",
      row["case"].get<std::string>(), first_ms, limit_ms, row["next_get_ms"].get<double>(),
      100 * row["contexts_lost"].get<double>(), ratio);
  return first_ms <= limit_ms && ratio >= 0.95 && row["drained"].get<bool>();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("One of four equal devices stops: how long a get takes, and what comes after");
  app.add_option("--context", options.context_mib, "MiB of a context")->check(CLI::Range(2, 4096));
  app.add_option("--contexts", options.contexts, "Stored before")->check(CLI::Range(2, 64));
  app.add_option("--repeat", options.repeat, "New contexts")->check(CLI::Range(1, 64));
  app.add_option("--deadline", options.deadline_ms, "ms")->check(CLI::Range(1, 2000));
  app.add_flag("--wait", options.wait, "The control: wait for the device; exits 1");
  app.add_option("--json", options.json, "Write the figures there");
  CLI11_PARSE(app, argc, argv);
  auto rows = nlohmann::json::array();
  bool good = true;
  for (const bool plain : {false, true}) {
    rows.push_back(Run(options, plain).Measure(plain ? "memory of malloc" : "memory of the pool"));
    good &= Print(rows.back());
  }
  if (!options.json.empty()) std::ofstream(options.json) << rows.dump(2) << '\n';
  return good ? 0 : 1;
}
