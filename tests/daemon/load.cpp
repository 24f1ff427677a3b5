// A client that puts contexts, fetches them and looks at every byte, until SECONDS have passed:
// daemon_load SOCKET SEED SECONDS. Ends with a line of counts; exit code 1 when a byte was wrong.
// Half of the memory is the pool's, half its own, which is copied; half of the gets are leases.
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "base/clock.h"
#include "base/limits.h"
#include "kvpool/pool.h"

namespace kvpool {
namespace {

constexpr std::size_t kBlocks = 24;
constexpr std::size_t kBlockBytes = 256 * kKiB + 512;
constexpr std::size_t kContextBytes = kBlocks * kBlockBytes;

struct Counts {
  std::uint64_t stored = 0, fetched = 0, absent = 0, cancelled = 0, wrong = 0;
};

class Load {
 public:
  Load(Pool& pool, std::uint64_t seed) : pool_(pool), random_(seed) {
    channel_ = std::move(*pool.OpenChannel());
    space_ = *pool.OpenSpace({.model = "load", .layers = 4});
    memory_ = *pool.Allocate(2 * kContextBytes);
    own_.resize(2 * kContextBytes);
  }

  void Round() {
    const std::uint64_t context = random_() % 64;
    std::byte* const memory = random_() % 2 == 0 ? memory_->bytes().data() : own_.data();
    std::vector<std::string> names;
    std::vector<Segment> from, into;
    for (std::size_t i = 0; i < kBlocks; ++i) {
      names.push_back(fmt::format("{}/{}", context, i));
      from.push_back({memory + i * kBlockBytes, kBlockBytes});
      into.push_back({memory + kContextBytes + i * kBlockBytes, kBlockBytes});
      Fill(from.back(), context, i);
    }
    const std::vector<Key> keys(names.begin(), names.end());
    PutRequest put;
    put.space = space_;
    put.keys = keys;
    put.from = from;
    put.ordinal = 0;
    Do(put);
    for (const Status status : put.results()) {
      counts_.stored += status == Status::kOk ? 1 : 0;
      counts_.cancelled += status == Status::kCancelled ? 1 : 0;
    }
    GetRequest get;
    get.space = space_;
    get.keys = keys;
    get.into = into;
    get.lease = random_() % 2 == 0;
    std::memset(memory + kContextBytes, 0x77, kContextBytes);
    Do(get);
    for (std::size_t i = 0; i < kBlocks; ++i) {
      const Status status = get.result(i);
      counts_.absent += status == Status::kNotFound ? 1 : 0;
      counts_.cancelled += status == Status::kCancelled ? 1 : 0;
      if (status != Status::kOk) continue;
      counts_.fetched += 1;
      const bool same = get.lease ? IsSame(from[i].data, get.views(i))
                                  : std::memcmp(from[i].data, into[i].data, kBlockBytes) == 0;
      counts_.wrong += same ? 0 : 1;
    }
    if (get.lease) channel_->Release(get);
    if (random_() % 8 != 0) return;
    DropRequest drop;
    drop.space = space_;
    drop.keys = keys;
    Do(drop);
  }

  const Counts& counts() const { return counts_; }

 private:
  // The same for everybody who stores that block.
  static void Fill(const Segment& segment, std::uint64_t context, std::size_t block) {
    std::uint64_t word = context * 1'000'003 + block + 1;
    for (std::size_t at = 0; at + 8 <= segment.bytes; at += 8) {
      word = word * 6364136223846793005ULL + 1442695040888963407ULL;
      std::memcpy(segment.data + at, &word, 8);
    }
  }

  static bool IsSame(const std::byte* stored, std::span<const Segment> views) {
    std::size_t at = 0;
    for (const Segment& view : views) {
      if (at + view.bytes > kBlockBytes) return false;
      if (std::memcmp(stored + at, view.data, view.bytes) != 0) return false;
      at += view.bytes;
    }
    return at == kBlockBytes;
  }

  template <class R>
  void Do(R& request) {
    if (channel_->Submit(request) != Status::kOk) std::abort();
    Request* done = nullptr;
    while (channel_->Poll({&done, 1}) == 0) channel_->Wait(std::chrono::seconds(1));
  }

  Pool& pool_;
  std::mt19937_64 random_;
  std::unique_ptr<Channel> channel_;
  Space space_;
  std::shared_ptr<Memory> memory_;
  std::vector<std::byte> own_;
  Counts counts_;
};

int Main(int argc, char** argv) {
  if (argc != 4) return 2;
  Config config;
  config.socket = argv[1];
  const auto pool = Pool::Open(config);
  if (!pool) {
    fmt::print(stderr, "load: {}\n", pool.error().message);
    return 1;
  }
  Load load(**pool, std::strtoull(argv[2], nullptr, 10));
  const std::int64_t until =
      Clock::Monotonic().NowNs() + static_cast<std::int64_t>(1e9 * std::atof(argv[3]));
  fmt::print("ready\n");
  std::fflush(stdout);
  while (Clock::Monotonic().NowNs() < until) load.Round();
  const Counts& counts = load.counts();
  fmt::print(
      "{{\"stored\": {}, \"fetched\": {}, \"absent\": {}, \"cancelled\": {}, \"wrong\": {}}}\n",
      counts.stored, counts.fetched, counts.absent, counts.cancelled, counts.wrong);
  return counts.wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace kvpool

int main(int argc, char** argv) { return kvpool::Main(argc, argv); }
