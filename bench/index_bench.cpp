// index_bench: what the index costs a key, in time and memory, at the size of a large pool.
#include <fmt/format.h>
#include <malloc.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "index/index.h"

namespace {

using kvpool::Key;
using kvpool::index::EntryId;
using kvpool::index::Index;
using kvpool::index::kNoEntry;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kChain = 256;
constexpr std::uint32_t kSpace = 1;

struct Options {
  std::size_t keys = 10'000'000;
  std::size_t probes = 2'000'000;
  std::size_t key_bytes = 32;
  std::uint32_t units = 8;
  std::string policy = "default";
  std::string json;
};

// Keys as engines have them: digests that follow from a number.
class Keys {
 public:
  Keys(std::size_t count, std::size_t bytes) : bytes_(bytes), buffer_(count * bytes) {}

  Key Make(std::size_t slot, std::uint64_t number) {
    char* at = buffer_.data() + slot * bytes_;
    for (std::size_t i = 0; i < bytes_; i += sizeof number) {
      number = (number ^ (number >> 29)) * 0xbf58476d1ce4e5b9ULL + 0x9e3779b97f4a7c15ULL;
      std::memcpy(at + i, &number, std::min(sizeof number, bytes_ - i));
    }
    return {at, bytes_};
  }

 private:
  std::size_t bytes_;
  std::vector<char> buffer_;
};

class Report {
 public:
  explicit Report(const Options& options) : options_(options) {
    if (!options.json.empty()) json_.open(options.json);
  }
  void Row(std::string_view what, double value, std::string_view unit) {
    fmt::print("{:<44} {:>10.1f} {}\n", what, value, unit);
    std::fflush(stdout);
    if (!json_.is_open()) return;
    json_ << nlohmann::json{{"bench", "index"},      {"case", what},   {"method", options_.policy},
                            {"keys", options_.keys}, {"value", value}, {"unit", unit}}
                 .dump()
          << std::endl;
  }

 private:
  const Options& options_;
  std::ofstream json_;
};

double Nanoseconds(Clock::time_point since) {
  return std::chrono::duration<double, std::nano>(Clock::now() - since).count();
}

// What this thread computed: a pause that is the machine's own does not count as the index's.
double ThreadMicroseconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

// Chains of kChain keys; returns the worst single store.
double Fill(Index& index, const Options& options, Report& report) {
  Keys keys(1, options.key_bytes);
  const kvpool::layout::BlockShape shape{.block_bytes = std::uint64_t{options.units} * 262'144,
                                         .units = options.units,
                                         .unit_bytes = 262'144,
                                         .slot_bytes = 262'144};
  double worst = 0;
  EntryId parent = kNoEntry;
  const auto begin = Clock::now();
  double before = ThreadMicroseconds();
  for (std::size_t i = 0; i < options.keys; ++i) {
    parent = index.Reserve({.space = kSpace,
                            .key = keys.Make(0, i),
                            .shape = shape,
                            .ordinal = i % kChain,
                            .parent = i % kChain == 0 ? kNoEntry : parent});
    index.Publish(parent);
    index.Unpin(parent);
    const double now = ThreadMicroseconds();
    worst = std::max(worst, now - before);
    before = now;
  }
  report.Row("store", Nanoseconds(begin) / static_cast<double>(options.keys), "ns a key");
  return worst;
}

// `number_of(i, j)` is the number of key j of chain i. Keys are made outside the clock, and a chain
// is far from the one before, so that nothing of it is in the processor's caches.
template <class NumberOf>
double MatchNanoseconds(const Index& index, const Options& options, std::size_t expected,
                        NumberOf&& number_of) {
  constexpr std::size_t kAtOnce = 64;
  Keys keys(kAtOnce * kChain, options.key_bytes);
  std::vector<Key> chain(kAtOnce * kChain);
  double nanoseconds = 0;
  std::size_t matched = 0;
  const std::size_t rounds = std::max<std::size_t>(1, options.probes / (kAtOnce * kChain));
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t slot = 0; slot < chain.size(); ++slot) {
      chain[slot] = keys.Make(slot, number_of(round * kAtOnce + slot / kChain, slot % kChain));
    }
    const auto begin = Clock::now();
    for (std::size_t i = 0; i < kAtOnce; ++i) {
      matched += index.Match(kSpace, std::span(chain).subspan(i * kChain, kChain));
    }
    nanoseconds += Nanoseconds(begin);
  }
  if (matched != rounds * kAtOnce * expected) throw std::logic_error("the index forgot keys");
  return nanoseconds / static_cast<double>(rounds * kAtOnce * std::max<std::size_t>(1, expected));
}

void Evict(Index& index, const Options& options, Report& report) {
  const std::size_t count = std::min(options.keys / 4, options.probes);
  double worst = 0;
  const auto begin = Clock::now();
  double before = ThreadMicroseconds();
  for (std::size_t i = 0; i < count; ++i) {
    const EntryId victim = index.Victim();
    if (!index.Doom(victim)) throw std::logic_error("a pinned victim");
    index.Erase(victim);
    const double now = ThreadMicroseconds();
    worst = std::max(worst, now - before);
    before = now;
  }
  report.Row("evict", Nanoseconds(begin) / static_cast<double>(count), "ns a key");
  report.Row("evict, the longest, processor time", worst, "us");
}

void Run(const Options& options) {
  Report report(options);
  auto policy = kvpool::index::MakeEvictionPolicy(options.policy);
  if (!policy) throw std::invalid_argument(policy.error().message);
  const auto heap = [] {
    const auto info = mallinfo2();
    return static_cast<double>(info.uordblks) + static_cast<double>(info.hblkhd);
  };
  const double heap_before = heap();
  Index index(std::move(*policy));
  const double worst_store_us = Fill(index, options, report);
  report.Row("store, the longest, processor time", worst_store_us, "us");
  const double own = static_cast<double>(options.key_bytes) + 16.0 * options.units;
  report.Row("memory beside key and units",
             (heap() - heap_before) / static_cast<double>(options.keys) - own, "bytes a key");

  std::mt19937_64 random(1);
  const std::size_t chains = options.keys / kChain;
  std::vector<std::uint64_t> starts(options.probes / kChain + kChain);
  for (auto& start : starts) start = random() % chains * kChain;
  report.Row("match, whole chains of 256",
             MatchNanoseconds(index, options, kChain,
                              [&](std::size_t i, std::size_t j) { return starts[i] + j; }),
             "ns a key");
  // Every key of such a chain lies anywhere in the index.
  report.Row(
      "match, 256 keys from anywhere",
      MatchNanoseconds(index, options, kChain,
                       [&](std::size_t, std::size_t) { return random() % (chains * kChain); }),
      "ns a key");
  report.Row("match, first key absent",
             MatchNanoseconds(index, options, 0,
                              [&](std::size_t, std::size_t) { return random() | 1ull << 63; }),
             "ns a chain");
  Evict(index, options, report);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("What the index costs a key, in time and memory.");
  app.add_option("--keys", options.keys, "keys in the index")->check(CLI::Range(1024, 200'000'000));
  app.add_option("--probes", options.probes, "keys to match")->check(CLI::Range(1, 100'000'000));
  app.add_option("--key-bytes", options.key_bytes, "length of a key")->check(CLI::Range(8, 512));
  app.add_option("--units", options.units, "units of a block")->check(CLI::Range(0, 4096));
  app.add_option("--policy", options.policy, "eviction policy");
  app.add_option("--json", options.json, "write one JSON object a line to this file");
  CLI11_PARSE(app, argc, argv);
  try {
    Run(options);
  } catch (const std::exception& problem) {
    fmt::print(stderr, "index_bench: {}\n", problem.what());
    return 1;
  }
  return 0;
}
