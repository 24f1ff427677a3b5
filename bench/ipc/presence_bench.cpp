// What a table of a space's keys costs: to open a space of many blocks through the daemon, to match
// there, and what another client's small gets notice of it. The daemon is a thread of this process;
// who opens and who gets are processes of their own, forked before there are threads.
//
//   kvpool_presence_bench POOL.toml [blocks] [rounds]
//
// A block takes 32 KiB of the pool's devices.
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <span>
#include <string>
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

constexpr std::size_t kBlockBytes = 512;
constexpr std::size_t kMatched = 256;
constexpr std::size_t kAtOnce = 1024;
const SpaceSpec kLarge{.model = "large", .dtype = "bf16", .layers = 1};
const SpaceSpec kSmall{.model = "small", .dtype = "bf16", .layers = 1};

using Answer = std::array<double, 4>;
using Worker = Child<Answer>;

template <class T>
T Must(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "presence_bench: {}\n", result.error().message);
  std::exit(1);
}

double SecondsSince(std::int64_t begin_ns) {
  return 1e-9 * static_cast<double>(Clock::Monotonic().NowNs() - begin_ns);
}

double Percentile(std::vector<double>& values, double part) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1))];
}

std::string NameOf(std::size_t block) { return fmt::format("{:032x}", block); }

template <class R>
void Do(Channel& channel, R& request) {
  if (channel.Submit(request) != Status::kOk) std::abort();
  Request* done = nullptr;
  while (channel.Poll({&done, 1}) == 0) channel.Wait(std::chrono::seconds(1));
  for (const Status status : request.results()) {
    if (status == Status::kOk) continue;
    fmt::print(stderr, "presence_bench: a block ended with status {}: the pool is too small\n",
               static_cast<int>(status));
    std::exit(1);
  }
}

// The keys of `count` blocks, so many at a time.
void ForKeys(std::size_t count, const std::function<void(std::span<const Key>)>& use) {
  for (std::size_t first = 0; first < count; first += kAtOnce) {
    std::vector<std::string> names;
    for (std::size_t i = first; i < std::min(first + kAtOnce, count); ++i) {
      names.push_back(NameOf(i));
    }
    use(std::vector<Key>(names.begin(), names.end()));
  }
}

// `count` blocks from the first on, all with the same bytes.
void Put(Pool& pool, const SpaceSpec& spec, std::size_t count) {
  const auto channel = Must(pool.OpenChannel());
  std::vector<std::byte> bytes(kBlockBytes);
  const std::vector<Segment> segments(kAtOnce, {bytes.data(), kBlockBytes});
  PutRequest put;
  put.space = Must(pool.OpenSpace(spec));
  ForKeys(count, [&](std::span<const Key> keys) {
    put.keys = keys;
    put.from = std::span(segments).first(keys.size());
    Do(*channel, put);
  });
}

void DropAll(Pool& pool, const SpaceSpec& spec, std::size_t count) {
  const auto channel = Must(pool.OpenChannel());
  DropRequest drop;
  drop.space = Must(pool.OpenSpace(spec));
  ForKeys(count, [&](std::span<const Key> keys) {
    drop.keys = keys;
    Do(*channel, drop);
  });
}

// Opens the large space as the only client that has it: seconds, and us of a match. 's': computes
// for as long as it took, and does nothing else.
Answer Open(const Config& config, char order) {
  static double took_s = 0;
  const std::int64_t begin = Clock::Monotonic().NowNs();
  if (order == 's') {
    while (SecondsSince(begin) < took_s) {
    }
    return {took_s};
  }
  const auto pool = Must(Pool::Open(config));
  const std::int64_t opened = Clock::Monotonic().NowNs();
  const Space space = Must(pool->OpenSpace(kLarge));
  took_s = SecondsSince(opened);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kMatched; ++i) names.push_back(NameOf(i));
  const std::vector<Key> keys(names.begin(), names.end());
  std::vector<double> match_us;
  for (int i = 0; i < 1000; ++i) {
    const std::int64_t from = Clock::Monotonic().NowNs();
    if (order == 'm' && pool->Match(space, keys) != kMatched) {
      fmt::print(stderr, "presence_bench: keys are not there\n");
      _exit(1);
    }
    match_us.push_back(1e6 * SecondsSince(from));
  }
  return {took_s, Percentile(match_us, 0.5)};
}

// Gets one block again and again until there is another order: how often, and us.
Answer Get(Channel& channel, Space space, int orders) {
  std::vector<std::byte> room(kBlockBytes);
  const std::string name = NameOf(0);
  const Key key = name;
  const Segment segment{room.data(), room.size()};
  std::vector<double> us;
  for (pollfd event{orders, POLLIN, 0}; poll(&event, 1, 0) == 0;) {
    GetRequest get;
    get.space = space;
    get.keys = {&key, 1};
    get.into = {&segment, 1};
    const std::int64_t begin = Clock::Monotonic().NowNs();
    Do(channel, get);
    us.push_back(1e6 * SecondsSince(begin));
  }
  char end = 0;
  if (read(orders, &end, 1) != 1) _exit(0);
  const double count = static_cast<double>(us.size());
  return {count, Percentile(us, 0.5), Percentile(us, 0.99), Percentile(us, 1)};
}

Worker::Life Getter(const Config& config) {
  struct User {
    std::unique_ptr<Pool> pool;
    std::unique_ptr<Channel> channel;
    Space space;
  };
  auto user = std::make_shared<User>();
  user->pool = Must(Pool::Open(config));
  user->channel = Must(user->pool->OpenChannel());
  user->space = Must(user->pool->OpenSpace(kSmall));
  return [user](char, int orders) { return Get(*user->channel, user->space, orders); };
}

// MiB of the daemon's pages in tables.
double TablesMiB() {
  std::ifstream maps("/proc/self/smaps");
  double kib = 0;
  bool table = false;
  for (std::string line; std::getline(maps, line);) {
    const bool names_a_mapping = !line.empty() && (line[0] < 'A' || line[0] > 'Z');
    if (names_a_mapping) table = line.find("memfd:kvpool-presence") != std::string::npos;
    if (table && line.starts_with("Rss:")) kib += std::atof(line.c_str() + 4);
  }
  return kib / 1024;
}

// What small gets come to while `work` is done.
Answer Beside(const Worker& getter, const std::function<void()>& work) {
  getter.Order('g');
  work();
  return getter.Ask('e');
}

void Print(const char* what, const Answer& gets) {
  fmt::print("  small gets {:<42} p50 {:7.1f} us, p99 {:8.1f} us, most {:8.1f} us ({:.0f})\n", what,
             gets[1], gets[2], gets[3], gets[0]);
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: kvpool_presence_bench POOL.toml [blocks] [rounds]\n");
    return 2;
  }
  Config config = Must(Config::Load(argv[1]));
  const std::size_t blocks = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1'000'000;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 5;
  Config client;
  client.socket = config.socket.empty() ? std::string(argv[1]) + ".sock" : config.socket.string();
  config.socket.clear();
  const Worker opener([&] { return [&](char order, int) { return Open(client, order); }; });
  const Worker getter([&] { return Getter(client); });
  const auto pool = Must(pool::OpenOwn(config, pool::LogOnStderr, pool::Lending::kToClients));
  const auto server = Must(server::Server::Listen(*pool, {.socket = client.socket}));
  const int stop = eventfd(0, EFD_CLOEXEC);
  std::thread serving([&] { server->Serve(stop); });
  Put(*pool, kSmall, 1);
  Put(*pool, kLarge, blocks);
  Beside(getter, [] {});  // which connects
  for (int round = 0; round < rounds; ++round) {
    Answer opened{};
    const Answer beside = Beside(getter, [&] { opened = opener.Ask('m'); });
    const Answer busy = Beside(getter, [&] { opener.Ask('s'); });
    fmt::print("a space of {} blocks: open {:.1f} ms, match of {} keys {:.1f} us\n", blocks,
               1e3 * opened[0], kMatched, opened[1]);
    Print("beside the opening", beside);
    Print("beside a process that computes as long", busy);
  }
  // As the blocks come, without a table and with one.
  const auto put = [&] { Put(*pool, kLarge, blocks); };
  DropAll(*pool, kLarge, blocks);
  Print("while the blocks are put", Beside(getter, put));
  DropAll(*pool, kLarge, blocks);
  const auto open = Must(Pool::Open(client));
  Must(open->OpenSpace(kLarge));
  Print("while they are put and a table grows", Beside(getter, put));
  fmt::print("  the table's pages: {:.1f} MiB\n", TablesMiB());
  const std::uint64_t one = 1;
  if (write(stop, &one, sizeof one) != sizeof one) return 1;
  serving.join();
  return 0;
}

}  // namespace
}  // namespace kvpool::bench

int main(int argc, char** argv) { return kvpool::bench::Main(argc, argv); }
