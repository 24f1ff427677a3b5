// A pool in this process beside the same pool through a daemon: one pool, the same blocks, turn by
// turn. The daemon's side is a thread of this process, which also measures "in-process"; clients
// are processes of their own, forked before there are threads.
//
//   kvpool_ipc_bench POOL.toml [clients] [rounds]
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/limits.h"
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

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

// What each side does, by the same calls.
class User {
 public:
  explicit User(Pool& pool) : pool_(pool), channel_(Must(pool.OpenChannel())) {
    space_ = Must(pool.OpenSpace(kSpec));
    memory_ = Must(pool.Allocate(kBlocks * kBlockBytes));
    for (std::size_t i = 0; i < kBlocks; ++i) {
      names_.push_back(fmt::format("{:032x}", i));  // as a chain hash is
      segments_.push_back({memory_->bytes().data() + i * kBlockBytes, kBlockBytes});
    }
    keys_.assign(names_.begin(), names_.end());
  }

  void Put() {
    const auto words = memory_->bytes();
    for (std::size_t i = 0; i < words.size(); i += 8) std::memcpy(&words[i], &i, 8);
    PutRequest put;
    put.space = space_;
    put.keys = keys_;
    put.from = segments_;
    put.ordinal = 0;
    Do(put);
    Count(put);
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
  // Gets, one after the other, until `stop` is readable: bytes a second up to the last whole one.
  double GetUntil(int stop) {
    double bytes = 0;
    double seconds = 0;
    pollfd event{stop, POLLIN, 0};
    const std::int64_t begin = Clock::Monotonic().NowNs();
    for (;;) {
      Get();
      if (::poll(&event, 1, 0) > 0 && bytes != 0) break;  // the others may have ended theirs
      bytes += kBlocks * kBlockBytes;
      seconds = 1e-9 * static_cast<double>(Clock::Monotonic().NowNs() - begin);
    }
    char end = 0;
    if (read(stop, &end, 1) != 1) _exit(0);
    return bytes / seconds;
  }
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
};

// The client's process: a letter in, a number out.
[[noreturn]] void BeClient(int orders, const Config& config) {
  char order = 0;
  if (read(orders, &order, 1) != 1) _exit(1);  // the daemon listens
  const auto pool = Must(Pool::Open(config));
  User user(*pool);
  for (double answer = 0;;) {
    if (write(orders, &answer, sizeof answer) != sizeof answer) _exit(1);
    if (read(orders, &order, 1) != 1) _exit(0);
    if (order == 'g') answer = user.Get();
    if (order == 'G') answer = user.Get() + user.Get() + user.Get() + user.Get();
    if (order == 's') answer = user.GetUntil(orders);
    if (order == 'm') answer = user.Match();
    if (order == '1') answer = user.GetOne();
    if (order == 'w') answer = static_cast<double>(user.wrong());
  }
}

struct RemoteUser {
  int orders = -1;
  void Tell(char order) const {
    if (write(orders, &order, 1) != 1) std::abort();
  }
  double Hear() const {
    double answer = 0;
    if (read(orders, &answer, sizeof answer) != sizeof answer) std::abort();
    return answer;
  }
  double Ask(char order) const {
    Tell(order);
    return Hear();
  }
};

void Compare(User& here, const std::vector<RemoteUser>& clients, int rounds) {
  std::vector<double> get_ratio, match_more, one_more, sum_ratio, fairness, gbps;
  constexpr double kBytes = kBlocks * kBlockBytes;
  for (int round = 0; round < rounds; ++round) {
    const double before = here.Get();
    const double through = clients[0].Ask('g');
    const double after = here.Get();
    gbps.push_back(kBytes / through / 1e9);
    get_ratio.push_back((before + after) / 2 / through);
    std::vector<double> match_here, match_there, one_here, one_there;
    for (int i = 0; i < 20; ++i) {
      match_here.push_back(here.Match());
      match_there.push_back(clients[0].Ask('m'));
      one_here.push_back(here.GetOne());
      one_there.push_back(clients[0].Ask('1'));
    }
    match_more.push_back(Median(match_there) - Median(match_here));
    one_more.push_back(Median(one_there) - Median(one_here));
    for (const RemoteUser& client : clients) client.Tell('G');
    std::vector<double> each;
    for (const RemoteUser& client : clients) each.push_back(client.Hear());
    const double last = *std::max_element(each.begin(), each.end());
    sum_ratio.push_back(4 * static_cast<double>(clients.size()) * before / last);
    const double mean =
        std::accumulate(each.begin(), each.end(), 0.0) / static_cast<double>(each.size());
    fairness.push_back(mean / last);
  }
  double wrong = static_cast<double>(here.wrong());
  for (const RemoteUser& client : clients) wrong += client.Ask('w');
  fmt::print("get of {} MiB through the daemon: {:.2f} GB/s, {:.3f} of in-process\n",
             kBlocks * kBlockBytes / kMiB, Median(gbps), Median(get_ratio));
  fmt::print("match of {} keys: {:+.1f} us beside in-process\n", kBlocks, Median(match_more));
  fmt::print("get of one block of 1 MiB: {:+.1f} us beside in-process\n", Median(one_more));
  fmt::print("{} clients at once: {:.3f} of one in-process, worst {:.3f} of the mean\n",
             clients.size(), Median(sum_ratio), Median(fairness));
  fmt::print("keys and blocks that were not as stored: {:.0f}\n", wrong);
  if (wrong != 0) std::exit(1);
}

// All clients at once for so long that it matters little who was first and who is last.
void CompareSteady(User& here, const std::vector<RemoteUser>& clients) {
  constexpr double kGets = 12;  // of each client, about
  const double alone = Median({here.Get(), here.Get(), here.Get()});
  for (const RemoteUser& client : clients) client.Tell('s');
  std::this_thread::sleep_for(
      std::chrono::duration<double>(kGets * alone * static_cast<double>(clients.size())));
  for (const RemoteUser& client : clients) client.Tell('e');
  std::vector<double> each;
  for (const RemoteUser& client : clients) each.push_back(client.Hear());
  const double sum = std::accumulate(each.begin(), each.end(), 0.0);
  fmt::print(
      "{} clients for {:.0f} gets each: {:.2f} GB/s, {:.3f} of one in-process, worst {:.3f} of a "
      "fair share\n",
      clients.size(), kGets, sum / 1e9, sum * alone / (kBlocks * kBlockBytes),
      *std::min_element(each.begin(), each.end()) * static_cast<double>(each.size()) / sum);
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: kvpool_ipc_bench POOL.toml [clients] [rounds]\n");
    return 2;
  }
  Config config = Must(Config::Load(argv[1]));
  const int count = argc > 2 ? std::atoi(argv[2]) : 8;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 9;
  Config client;
  client.socket = config.socket.empty() ? std::string(argv[1]) + ".sock" : config.socket.string();
  config.socket.clear();
  std::vector<RemoteUser> clients;
  for (int i = 0; i < count; ++i) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return 1;
    if (fork() == 0) {
      for (const RemoteUser& other : clients) close(other.orders);
      close(pair[0]);
      BeClient(pair[1], client);
    }
    close(pair[1]);
    clients.push_back({pair[0]});
  }
  const auto pool = Must(pool::OpenOwn(config));
  const auto server = Must(server::Server::Listen(*pool, {.socket = client.socket}));
  const int stop = eventfd(0, EFD_CLOEXEC);
  std::thread serving([&] { server->Serve(stop); });
  User here(*pool);
  here.Put();
  for (const RemoteUser& one : clients) {
    one.Tell('h');
    one.Hear();
  }
  Compare(here, clients, rounds);
  CompareSteady(here, clients);
  for (const RemoteUser& one : clients) close(one.orders);
  while (wait(nullptr) > 0) {
  }
  const std::uint64_t one = 1;
  if (write(stop, &one, sizeof one) != sizeof one) return 1;
  serving.join();
  return 0;
}

}  // namespace
}  // namespace kvpool::bench

int main(int argc, char** argv) { return kvpool::bench::Main(argc, argv); }
