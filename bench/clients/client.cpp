#include "bench/clients/client.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "bench/compare/accounting.h"
#include "bench/compare/content.h"
#include "kvpool/pool.h"

namespace kvpool::bench {
namespace {

struct Letter {
  Order order = Order::kConnect;
  Window window;
};
struct Answer {
  Status status = Status::kOk;
  Figures figures;
  std::array<char, 512> message = {};
};

// Both are smaller than a socket's buffer, so they come whole or not at all.
template <class T>
bool Send(int fd, const T& letter) {
  return send(fd, &letter, sizeof letter, MSG_NOSIGNAL) == sizeof letter;
}
template <class T>
bool Receive(int fd, T& letter) {
  ssize_t got = 0;
  do {
    got = recv(fd, &letter, sizeof letter, 0);
  } while (got < 0 && errno == EINTR);
  return got == sizeof letter;
}

double Seconds(std::int64_t ns) { return 1e-9 * static_cast<double>(ns); }

// In the client's process.
class Engine {
 public:
  explicit Engine(const ClientPart& part) : part_(part) {}

  Result<Figures> Do(const Letter& letter) {
    switch (letter.order) {
      case Order::kConnect:
        return Connect();
      case Order::kPut:
        return Put();
      case Order::kGet:
        return Get();
      case Order::kGetUntil:
        return GetUntil(letter.window);
      case Order::kVerify:
        return Verify();
      case Order::kDrop:
        return Drop();
    }
    return Fail(Status::kInvalid, "an order that there is not");
  }

 private:
  Result<Figures> Connect() {
    Config config;
    config.socket = part_.socket;
    auto pool = Pool::Open(config);
    if (!pool) return tl::unexpected(pool.error());
    pool_ = std::move(*pool);
    auto channel = pool_->OpenChannel();
    if (!channel) return tl::unexpected(channel.error());
    channel_ = std::move(*channel);
    auto space = pool_->OpenSpace({.model = part_.geometry.name,
                                   .dtype = "bf16",
                                   .rank = std::to_string(part_.number),
                                   .engine = "kvpool bench",
                                   .tenant_salt = part_.run,
                                   .layers = part_.geometry.layers});
    if (!space) return tl::unexpected(space.error());
    space_ = *space;
    const std::uint64_t block = part_.geometry.block_bytes();
    auto memory = pool_->Allocate(part_.blocks * block);
    if (!memory) return tl::unexpected(memory.error());
    memory_ = std::move(*memory);
    content_ = std::make_unique<Content>(part_.seed + part_.number,
                                         memory_->bytes().first(part_.blocks * block), block);
    for (std::uint64_t b = 0; b < part_.blocks; ++b) {
      names_.push_back(fmt::format("{:032x}", b));  // as a chain hash is
      segments_.push_back({content_->Block(b).data(), block});
    }
    keys_.assign(names_.begin(), names_.end());
    content_->Fill();
    return Figures{};
  }

  Result<Figures> Put() {
    PutRequest put;
    put.from = segments_;
    put.ordinal = 0;
    auto figures = Time(put);
    const bool full = figures ? pool_->Match(space_, keys_) < keys_.size()
                              : figures.error().status == Status::kNoSpace;
    if (!full) return figures;
    return Fail(Status::kNoSpace,
                "the pool has no room for the contexts of all clients: give a shorter --context or "
                "fewer --clients");
  }

  Result<Figures> Get() {
    GetRequest get;
    get.into = segments_;
    return Time(get);
  }

  Result<Figures> GetUntil(Window window) {
    Figures sum{.seconds = Seconds(window.end_ns - window.begin_ns)};
    const double cpu = ProcessCpuSeconds();
    for (std::int64_t begin = Now(); begin < window.end_ns;) {
      const auto one = Get();
      if (!one) return one;
      const std::int64_t end = Now();
      const std::int64_t inside = std::min(end, window.end_ns) - std::max(begin, window.begin_ns);
      if (inside > 0) sum.bytes += one->bytes * Seconds(inside) / Seconds(end - begin);
      begin = end;
    }
    sum.cpu_s = ProcessCpuSeconds() - cpu;
    return sum;
  }

  Result<Figures> Verify() {
    Poison(content_->buffer());
    auto got = Get();
    if (!got) return got;
    if (const auto wrong = content_->FirstWrongBlock(part_.blocks)) {
      return Fail(Status::kCorrupt, fmt::format("block {} came back with other bytes", *wrong));
    }
    return got;
  }

  Result<Figures> Drop() {
    DropRequest drop;
    drop.space = space_;
    drop.keys = keys_;
    if (auto done = Await(drop); !done) return tl::unexpected(done.error());
    return Figures{};
  }

  template <class AnyRequest>
  Result<Figures> Time(AnyRequest& request) {
    request.space = space_;
    request.keys = keys_;
    const std::int64_t begin = Now();
    if (auto done = Await(request); !done) return tl::unexpected(done.error());
    for (const Status status : request.results()) {
      if (status == Status::kOk) continue;
      return Fail(status, fmt::format("a block that was put is {}", ToString(status)));
    }
    return Figures{.bytes = static_cast<double>(content_->buffer().size()),
                   .seconds = Seconds(Now() - begin)};
  }

  template <class AnyRequest>
  Result<void> Await(AnyRequest& request) {
    if (const Status status = channel_->Submit(request); status != Status::kOk) {
      return Fail(status, fmt::format("a request is refused: {}", ToString(status)));
    }
    Request* done = nullptr;
    while (channel_->Poll({&done, 1}) == 0) channel_->Wait(std::chrono::seconds(1));
    return {};
  }

  static std::int64_t Now() { return Clock::Monotonic().NowNs(); }

  const ClientPart part_;
  std::unique_ptr<Pool> pool_;
  std::unique_ptr<Channel> channel_;
  Space space_;
  std::shared_ptr<Memory> memory_;
  std::unique_ptr<Content> content_;
  std::vector<std::string> names_;
  std::vector<Key> keys_;
  std::vector<Segment> segments_;
};

[[noreturn]] void BeClient(const Descriptor& orders, const ClientPart& part) {
  Engine engine(part);
  for (Letter letter; Receive(orders.get(), letter);) {
    const auto figures = engine.Do(letter);
    Answer answer;
    if (figures) {
      answer.figures = *figures;
    } else {
      answer.status = figures.error().status;
      figures.error().message.copy(answer.message.data(), answer.message.size() - 1);
    }
    if (!Send(orders.get(), answer)) break;
  }
  _exit(0);
}

}  // namespace

Result<Client> Client::Start(const ClientPart& part) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return Fail(Status::kIoError, fmt::format("socketpair: {}", std::strerror(errno)), errno);
  }
  Descriptor here(ends[0]);
  const Descriptor there(ends[1]);
  const pid_t parent = getpid();
  const pid_t process = fork();
  if (process < 0) {
    return Fail(Status::kIoError, fmt::format("fork: {}", std::strerror(errno)), errno);
  }
  if (process == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    here = Descriptor();
    BeClient(there, part);
  }
  return Client(std::move(here), process);
}

Client::~Client() {
  if (process_ == 0) return;
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
}

void Client::Tell(Order order, Window window) const {
  Send(orders_.get(), Letter{.order = order, .window = window});  // who is no more does not answer
}

Result<Figures> Client::Hear() const {
  Answer answer;
  if (!Receive(orders_.get(), answer)) {
    return Fail(Status::kIoError, "its process has ended");
  }
  if (answer.status == Status::kOk) return answer.figures;
  return Fail(answer.status, answer.message.data());
}

}  // namespace kvpool::bench
