#include "bench/clients/clients.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "base/clock.h"
#include "base/limits.h"
#include "bench/clients/client.h"
#include "kvpool/pool.h"
#include "mem/system_memory.h"

namespace kvpool::bench {
namespace {

constexpr double kGetsEach = 4;
constexpr std::int64_t kWarmUpNs = 200'000'000;
constexpr std::uint64_t kLongestByItself = 1 * kGiB;

Result<PoolInfo> AskDaemon(const std::filesystem::path& socket) {
  Config config;
  config.socket = socket;
  auto pool = Pool::Open(config);
  if (!pool) return tl::unexpected(pool.error());
  return (*pool)->info();
}

Result<void> Check(const ClientsOptions& options) {
  if (options.clients < 1 || options.clients > kMostClients) {
    return Fail(Status::kInvalid, fmt::format("a daemon takes 1 to {} clients", kMostClients));
  }
  if (!(options.seconds > 0)) return Fail(Status::kInvalid, "the seconds must be above 0");
  return {};
}

std::uint64_t ContextBytes(const ClientsOptions& options, const PoolInfo& info) {
  if (options.context_bytes) return *options.context_bytes;
  std::uint64_t capacity = 0;
  for (const DeviceInfo& device : info.devices) {
    if (device.state == DeviceState::kServing) capacity += device.capacity_bytes;
  }
  const std::uint64_t all = std::min(capacity / 2, mem::AvailableMemory() / 4);
  return std::min(kLongestByItself, all / options.clients);
}

// The clients of a run, and what all of them do together.
class Clients {
 public:
  Result<void> Start(const ClientsOptions& options, std::uint64_t context_bytes,
                     std::vector<ClientFigures>& figures) {
    const std::string run = fmt::format("{}-{}", getpid(), Clock::Monotonic().NowNs());
    std::uint64_t bytes = 0;
    for (std::uint32_t n = 0; n < options.clients; ++n) {
      const Geometry& geometry = ClientGeometries()[n % ClientGeometries().size()];
      const std::uint64_t blocks =
          std::max<std::uint64_t>(1, context_bytes / geometry.block_bytes());
      figures.push_back({.geometry = geometry, .context_bytes = blocks * geometry.block_bytes()});
      bytes += figures.back().context_bytes;
      parts_.push_back({options.socket, n, geometry, blocks, options.seed, run});
    }
    if (bytes > mem::AvailableMemory() / 10 * 9) {
      return Fail(
          Status::kNoSpace,
          fmt::format("the clients' contexts take {} MiB of memory and {} MiB are free: give a "
                      "shorter --context or fewer --clients",
                      bytes / kMiB, mem::AvailableMemory() / kMiB));
    }
    for (const ClientPart& part : parts_) {
      auto client = Client::Start(part);
      if (!client) return tl::unexpected(client.error());
      clients_.push_back(std::move(*client));
    }
    return {};
  }

  // All at once.
  Result<std::vector<Figures>> All(Order order, Window window = {}) const {
    for (const Client& client : clients_) client.Tell(order, window);
    std::vector<Figures> all;
    Result<std::vector<Figures>> failed = all;
    for (std::size_t n = 0; n < clients_.size(); ++n) {
      auto one = Answer(n);
      if (one) all.push_back(*one);
      if (!one && failed) failed = tl::unexpected(one.error());
    }
    return failed ? all : failed;
  }
  // One after the other.
  Result<std::vector<Figures>> Each(Order order) const {
    std::vector<Figures> all;
    for (std::size_t n = 0; n < clients_.size(); ++n) {
      clients_[n].Tell(order);
      auto one = Answer(n);
      if (!one) return tl::unexpected(one.error());
      all.push_back(*one);
    }
    return all;
  }

 private:
  Result<Figures> Answer(std::size_t n) const {
    auto one = clients_[n].Hear();
    if (one) return one;
    return Fail(one.error().status, fmt::format("client {}: {}", n, one.error().message));
  }

  std::vector<ClientPart> parts_;
  std::vector<Client> clients_;
};

Result<void> MeasureTogether(const Clients& clients, const ClientsOptions& options,
                             ClientsResult& result) {
  double gets_s = 0;
  for (const ClientFigures& client : result.clients) {
    gets_s += static_cast<double>(client.context_bytes) / client.alone_bytes_per_s;
  }
  result.seconds = std::max(options.seconds, kGetsEach * gets_s);
  const std::int64_t begin = Clock::Monotonic().NowNs() + kWarmUpNs;
  const auto length = static_cast<std::int64_t>(1e9 * result.seconds);
  const auto all = clients.All(Order::kGetUntil, {begin, begin + length});
  if (!all) return tl::unexpected(all.error());
  for (std::size_t n = 0; n < all->size(); ++n) {
    const Figures& figures = (*all)[n];
    result.clients[n].bytes_per_s = figures.bytes / result.seconds;
    result.clients[n].cpu_s_per_gib = figures.cpu_s / (figures.bytes / kGiB);
  }
  return {};
}

Result<void> Measure(const Clients& clients, const ClientsOptions& options, ClientsResult& result) {
  const auto show = [&options](const char* step, double fraction) {
    if (options.progress) options.progress({step, fraction});
  };
  show("clients connect", 0);
  if (auto all = clients.All(Order::kConnect); !all) return tl::unexpected(all.error());
  show("clients put their contexts", 0.1);
  const std::int64_t begin = Clock::Monotonic().NowNs();
  const auto put = clients.All(Order::kPut);
  if (!put) return tl::unexpected(put.error());
  const double put_s = 1e-9 * static_cast<double>(Clock::Monotonic().NowNs() - begin);
  for (const Figures& figures : *put) result.put_bytes_per_s += figures.bytes / put_s;
  show("clients read one after the other", 0.3);
  if (auto warm = clients.Each(Order::kVerify); !warm) return tl::unexpected(warm.error());
  const auto alone = clients.Each(Order::kGet);
  if (!alone) return tl::unexpected(alone.error());
  for (std::size_t n = 0; n < alone->size(); ++n) {
    result.clients[n].alone_bytes_per_s = (*alone)[n].bytes / (*alone)[n].seconds;
  }
  show("clients read all at once", 0.5);
  if (auto together = MeasureTogether(clients, options, result); !together) return together;
  show("what they got is compared", 0.9);
  if (auto right = clients.All(Order::kVerify); !right) return tl::unexpected(right.error());
  return {};
}

}  // namespace

const std::vector<Geometry>& ClientGeometries() {
  static const std::vector<Geometry> geometries = {
      {"LLaMA-3.1-8B", 32, 256, 128 * kKiB},
      {"Qwen3-30B-A3B", 48, 256, 96 * kKiB},
      {"GPT-OSS-20B", 24, 256, 48 * kKiB},
  };
  return geometries;
}

double ClientsResult::SumBytesPerS() const {
  double sum = 0;
  for (const ClientFigures& client : clients) sum += client.bytes_per_s;
  return sum;
}

double ClientsResult::FractionOfDevices() const { return SumBytesPerS() / device_bytes_per_s; }

double ClientsResult::WorstOverFairShare() const {
  const auto slower = [](const ClientFigures& a, const ClientFigures& b) {
    return a.bytes_per_s < b.bytes_per_s;
  };
  const double worst = std::min_element(clients.begin(), clients.end(), slower)->bytes_per_s;
  return worst * static_cast<double>(clients.size()) / SumBytesPerS();
}

double ClientsResult::SumOverAlone() const {
  double alone = 0;
  for (const ClientFigures& client : clients) alone += client.alone_bytes_per_s;
  return SumBytesPerS() / (alone / static_cast<double>(clients.size()));
}

Result<ClientsResult> RunClientsBench(const ClientsOptions& options) {
  if (auto fine = Check(options); !fine) return tl::unexpected(fine.error());
  ClientsResult result;
  std::uint64_t context_bytes = 0;
  {
    const auto info = AskDaemon(options.socket);
    if (!info) return tl::unexpected(info.error());
    context_bytes = ContextBytes(options, *info);
    for (const DeviceInfo& device : info->devices) {
      if (device.state == DeviceState::kServing)
        result.device_bytes_per_s += device.read_bytes_per_s;
    }
  }
  result.header = MakeHeader(fmt::format("clients {} context {} seconds {} seed {} devices {}",
                                         options.clients, context_bytes, options.seconds,
                                         options.seed, result.device_bytes_per_s));
  Clients clients;
  if (auto started = clients.Start(options, context_bytes, result.clients); !started) {
    return tl::unexpected(started.error());
  }
  const auto measured = Measure(clients, options, result);
  const auto dropped = clients.All(Order::kDrop);
  if (!measured) return tl::unexpected(measured.error());
  if (!dropped) return tl::unexpected(dropped.error());
  return result;
}

std::vector<Row> RowsOf(const ClientsResult& result) {
  std::vector<Row> rows;
  std::uint64_t bytes = 0;
  for (std::size_t n = 0; n < result.clients.size(); ++n) {
    const ClientFigures& client = result.clients[n];
    bytes += client.context_bytes;
    rows.push_back({.bench = "clients",
                    .case_name = fmt::format("client={}", n),
                    .method = "daemon",
                    .bytes = client.context_bytes,
                    .bytes_per_s = client.bytes_per_s,
                    .cpu_s_per_gib = client.cpu_s_per_gib,
                    .note = client.geometry.name,
                    .more = {{"alone_bytes_per_s", client.alone_bytes_per_s}}});
  }
  rows.push_back({.bench = "clients",
                  .case_name = fmt::format("clients={}", result.clients.size()),
                  .method = "daemon",
                  .bytes = bytes,
                  .seconds = result.seconds,
                  .bytes_per_s = result.SumBytesPerS(),
                  .fraction_of_devices = result.FractionOfDevices(),
                  .more = {{"worst_over_fair_share", result.WorstOverFairShare()},
                           {"sum_over_alone", result.SumOverAlone()},
                           {"put_bytes_per_s", result.put_bytes_per_s}}});
  return rows;
}

}  // namespace kvpool::bench
