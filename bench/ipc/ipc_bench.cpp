// A pool in this process beside the same pool through a daemon: one pool, the same blocks, turn by
// turn. The daemon's side is a thread of this process, which also measures "in-process"; the client
// is a process of its own, forked before there are threads. Many clients: kvpool bench --socket.
//
//   kvpool_ipc_bench POOL.toml [rounds]
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/limits.h"
#include "bench/ipc/child.h"
#include "kvpool/pool.h"
#include "pool/pool_impl.h"
#include "server/server.h"

namespace kvpool::bench {
namespace {

constexpr std::size_t kBlocks = 256;
constexpr std::size_t kBlockBytes = 1 * kMiB;
const SpaceSpec kSpec{.model = "bench", .dtype = "bf16", .layers = 32};

template <class T>
T Must(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "ipc_bench: {}\n", result.error().message);
  std::exit(1);
}

double CpuSeconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

// What each side does, by the same calls.
class User {
 public:
  explicit User(Pool& pool, const SpaceSpec& spec = kSpec)
      : pool_(pool), channel_(Must(pool.OpenChannel())), space_(Must(pool.OpenSpace(spec))) {
    memory_ = Must(pool.Allocate(kBlocks * kBlockBytes));
    for (std::size_t i = 0; i < kBlocks; ++i) {
      names_.push_back(fmt::format("{:032x}", i));  // as a chain hash is
      segments_.push_back({memory_->bytes().data() + i * kBlockBytes, kBlockBytes});
    }
    keys_.assign(names_.begin(), names_.end());
  }

  // Seconds.
  double Put() {
    const auto words = memory_->bytes();
    for (std::size_t i = 0; i < words.size(); i += 8) std::memcpy(&words[i], &i, 8);
    PutRequest put;
    put.space = space_;
    put.keys = keys_;
    put.from = segments_;
    put.ordinal = 0;
    const std::int64_t begin = Clock::Monotonic().NowNs();
    Do(put);
    const double seconds = 1e-9 * static_cast<double>(Clock::Monotonic().NowNs() - begin);
    Count(put);
    return seconds;
  }
  void Drop() {
    DropRequest drop;
    drop.space = space_;
    drop.keys = keys_;
    Do(drop);
    Count(drop);
  }
  // Seconds.
  double Get() {
    GetRequest get;
    get.space = space_;
    get.keys = keys_;
    get.into = segments_;
    const std::int64_t begin = Clock::Monotonic().NowNs();
    Do(get);
    const double seconds = 1e-9 * static_cast<double>(Clock::Monotonic().NowNs() - begin);
    Count(get);
    return seconds;
  }
  // Seconds, until all is leased.
  double Lease() {
    GetRequest get;
    get.space = space_;
    get.keys = keys_;
    get.into = segments_;
    get.lease = true;
    const std::int64_t begin = Clock::Monotonic().NowNs();
    Do(get);
    const double seconds = 1e-9 * static_cast<double>(Clock::Monotonic().NowNs() - begin);
    Count(get);
    Look(get);
    channel_->Release(get);
    return seconds;
  }
  double leased_bytes() const { return static_cast<double>(leased_bytes_); }
  // Microseconds.
  double Match() {
    const std::int64_t begin = Clock::Monotonic().NowNs();
    const std::size_t matched = pool_.Match(space_, keys_);
    const double us = 1e-3 * static_cast<double>(Clock::Monotonic().NowNs() - begin);
    wrong_ += kBlocks - matched;
    return us;
  }
  // Microseconds, of one block.
  double GetOne() {
    GetRequest get;
    get.space = space_;
    get.keys = std::span(keys_).first(1);
    get.into = std::span(segments_).first(1);
    const std::int64_t begin = Clock::Monotonic().NowNs();
    Do(get);
    Count(get);
    return 1e-3 * static_cast<double>(Clock::Monotonic().NowNs() - begin);
  }
  std::uint64_t wrong() {
    const auto words = memory_->bytes();
    for (std::size_t i = 0; i < words.size(); i += kBlockBytes) {
      std::size_t word = 0;
      std::memcpy(&word, &words[i], 8);
      wrong_ += word == i ? 0 : 1;
    }
    return wrong_;
  }

 private:
  template <class R>
  void Do(R& request) {
    if (channel_->Submit(request) != Status::kOk) std::abort();
    Request* done = nullptr;
    while (channel_->Poll({&done, 1}) == 0) channel_->Wait(std::chrono::seconds(1));
  }
  // Each block begins with its place.
  void Look(const GetRequest& get) {
    leased_bytes_ = 0;
    for (std::size_t i = 0; i < kBlocks; ++i) {
      const std::size_t place = i * kBlockBytes;
      const auto views = get.views(i);
      wrong_ += std::memcmp(views[0].data, &place, sizeof place) == 0 ? 0 : 1;
      for (const Segment& view : views) {
        const auto offset = static_cast<std::size_t>(view.data - memory_->bytes().data());
        if (offset >= memory_->bytes().size()) leased_bytes_ += view.bytes;
      }
    }
  }
  void Count(const Request& request) {
    for (const Status status : request.results()) wrong_ += status == Status::kOk ? 0 : 1;
  }

  Pool& pool_;
  std::unique_ptr<Channel> channel_;
  Space space_;
  std::shared_ptr<Memory> memory_;
  std::vector<std::string> names_;
  std::vector<Key> keys_;
  std::vector<Segment> segments_;
  std::uint64_t wrong_ = 0;
  std::uint64_t leased_bytes_ = 0;
};

using RemoteUser = Child<double>;

// The client's process. 'h': begins.
RemoteUser::Life ClientOf(const Config& config) {
  const std::shared_ptr<Pool> pool = Must(Pool::Open(config));
  const auto user = std::make_shared<User>(*pool);
  return [pool, user](char order, int) -> double {
    switch (order) {
      case 'g':
        return user->Get();
      case 'l':
        return user->Lease();
      case 'b':
        return user->leased_bytes();
      case 'c':
        return CpuSeconds();
      case 'm':
        return user->Match();
      case '1':
        return user->GetOne();
      case 'w':
        return static_cast<double>(user->wrong());
      default:
        return 0;
    }
  };
}

void Compare(User& here, const RemoteUser& there, int rounds) {
  std::vector<double> get_ratio, match_more, one_more, gbps;
  constexpr double kBytes = kBlocks * kBlockBytes;
  for (int round = 0; round < rounds; ++round) {
    const double before = here.Get();
    const double through = there.Ask('g');
    const double after = here.Get();
    gbps.push_back(kBytes / through / 1e9);
    get_ratio.push_back((before + after) / 2 / through);
    std::vector<double> match_here, match_there, one_here, one_there;
    for (int i = 0; i < 20; ++i) {
      match_here.push_back(here.Match());
      match_there.push_back(there.Ask('m'));
      one_here.push_back(here.GetOne());
      one_there.push_back(there.Ask('1'));
    }
    match_more.push_back(Median(match_there) - Median(match_here));
    one_more.push_back(Median(one_there) - Median(one_here));
  }
  const double wrong = static_cast<double>(here.wrong()) + there.Ask('w');
  const auto [least, most] = std::minmax_element(get_ratio.begin(), get_ratio.end());
  fmt::print(
      "get of {} MiB through the daemon: {:.2f} GB/s, {:.3f} of in-process ({:.3f} to {:.3f})\n",
      kBlocks * kBlockBytes / kMiB, Median(gbps), Median(get_ratio), *least, *most);
  fmt::print("match of {} keys: {:+.1f} us beside in-process\n", kBlocks, Median(match_more));
  fmt::print("get of one block of 1 MiB: {:+.1f} us beside in-process\n", Median(one_more));
  fmt::print("keys and blocks that were not as stored: {:.0f}\n", wrong);
  if (wrong != 0) std::exit(1);
}

// What both processes spend on it.
struct Spent {
  double wall_s = 0;
  double cpu_s = 0;
};
Spent Spend(const RemoteUser& there, char order) {
  const double before = CpuSeconds() + there.Ask('c');
  const double wall_s = there.Ask(order);
  return {wall_s, CpuSeconds() + there.Ask('c') - before};
}

void CompareLeases(const RemoteUser& there, int rounds) {
  constexpr double kGiBs = static_cast<double>(kBlocks * kBlockBytes) / kGiB;
  std::vector<double> wall_ratio, copied_cpu, leased_cpu, gbps;
  for (int round = 0; round < rounds; ++round) {
    const Spent copied = Spend(there, 'g');
    const Spent leased = Spend(there, 'l');
    wall_ratio.push_back(copied.wall_s / leased.wall_s);
    gbps.push_back(kGiBs * kGiB / leased.wall_s / 1e9);
    copied_cpu.push_back(copied.cpu_s / kGiBs);
    leased_cpu.push_back(leased.cpu_s / kGiBs);
  }
  fmt::print(
      "the same with a lease: {:.2f} GB/s, {:.2f} of the copying one; {:.3f} CPU s/GiB beside "
      "{:.3f}; "
      "{:.0f} MiB in place\n",
      Median(gbps), Median(wall_ratio), Median(leased_cpu), Median(copied_cpu),
      there.Ask('b') / kMiB);
}

// Slabs that one space has had and another takes get new pages. Each goes through all of the
// memory.
void ComparePuts(pool::PoolImpl& pool, User& here, int rounds) {
  if (pool.info().devices.size() != 1 || pool.memory_bytes() == 0) return;
  User other(pool, {.model = "other", .dtype = "bf16", .layers = 32});
  const std::uint64_t puts = pool.memory_bytes() / (kBlocks * kBlockBytes) + 1;
  const auto fill = [&](User& user) {
    std::vector<double> gbps;
    for (std::uint64_t i = 0; i < puts; ++i) {
      gbps.push_back(1e-9 * static_cast<double>(kBlocks * kBlockBytes) / user.Put());
      user.Drop();
    }
    return Median(gbps);
  };
  std::vector<double> own, taken;
  for (int round = 0; round < rounds; ++round) {
    taken.push_back(fill(other));
    taken.push_back(fill(here));
    own.push_back(fill(here));
  }
  fmt::print("put in-process: {:.2f} GB/s into slabs of the space, {:.2f} GB/s into another's\n",
             Median(own), Median(taken));
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: kvpool_ipc_bench POOL.toml [rounds]\n");
    return 2;
  }
  Config config = Must(Config::Load(argv[1]));
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 9;
  Config client;
  client.socket = config.socket.empty() ? std::string(argv[1]) + ".sock" : config.socket.string();
  config.socket.clear();
  const RemoteUser there([&] { return ClientOf(client); });
  const auto pool = Must(pool::OpenOwn(config, pool::LogOnStderr, pool::Lending::kToClients));
  const auto server = Must(server::Server::Listen(*pool, {.socket = client.socket}));
  const int stop = eventfd(0, EFD_CLOEXEC);
  std::thread serving([&] { server->Serve(stop); });
  User here(*pool);
  ComparePuts(*pool, here, rounds);
  here.Put();
  there.Ask('h');
  Compare(here, there, rounds);
  CompareLeases(there, rounds);
  if (there.Ask('w') != 0) return 1;
  const std::uint64_t one = 1;
  if (write(stop, &one, sizeof one) != sizeof one) return 1;
  serving.join();
  return 0;
}

}  // namespace
}  // namespace kvpool::bench

int main(int argc, char** argv) { return kvpool::bench::Main(argc, argv); }
