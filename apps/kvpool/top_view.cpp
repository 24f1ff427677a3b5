#include "apps/kvpool/top_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/units.h"

namespace kvpool::cli {
namespace {

constexpr std::size_t kMostSpaces = 8;
constexpr std::size_t kMostClients = 8;
constexpr int kBar = 24;

std::string FormatTime(double seconds) {
  if (seconds >= 5400) return fmt::format("{:.1f} h", seconds / 3600);
  if (seconds >= 90) return fmt::format("{:.0f} min", seconds / 60);
  if (seconds >= 1) return fmt::format("{:.1f} s", seconds);
  return seconds >= 1e-3 ? fmt::format("{:.1f} ms", seconds * 1e3)
                         : fmt::format("{:.0f} us", seconds * 1e6);
}

// Bytes of a client's name may be anything; a terminal takes some of them for orders.
std::string Printable(std::string_view text) {
  std::string printable(text);
  std::replace_if(
      printable.begin(), printable.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return printable;
}

std::string HitRatio(const pool::SpaceCounts& counts) {
  const std::uint64_t needed = counts.hits + counts.stored + counts.declined;
  if (needed == 0) return "none yet";
  return fmt::format("{:.1f} %",
                     100 * static_cast<double>(counts.hits) / static_cast<double>(needed));
}

std::string BandwidthLine(const char* what, double rate, double most,
                          const pool::LatencyCounts& latency) {
  const double used = most > 0 ? std::clamp(rate / most, 0.0, 1.0) : 0;
  const int filled = static_cast<int>(std::lround(used * kBar));
  std::string line =
      fmt::format("  {:<5} [{}{}] {:>10} of {:<10}", what, std::string(filled, '#'),
                  std::string(kBar - filled, '-'), FormatRate(rate), FormatRate(most));
  if (latency.Count() == 0) return line;
  return line + fmt::format("  p50 {}, p99 {}", FormatTime(latency.QuantileS(0.5)),
                            FormatTime(latency.QuantileS(0.99)));
}

void AddDevice(const status::DaemonStatus& now, const status::DaemonStatus& before, std::size_t i,
               std::vector<std::string>& lines) {
  const DeviceInfo& info = now.pool.info.devices[i];
  const DeviceInfo& info_before = before.pool.info.devices[i];
  const pool::DeviceStatistics& counted = now.pool.devices[i];
  const pool::DeviceStatistics& counted_before = before.pool.devices[i];
  const double seconds = 1e-9 * static_cast<double>(now.pool.now_ns - before.pool.now_ns);
  const auto rate = [&](std::uint64_t bytes, std::uint64_t bytes_before) {
    if (seconds <= 0) return 0.0;
    return static_cast<double>(bytes - std::min(bytes, bytes_before)) / seconds;
  };
  lines.push_back(
      fmt::format("{} ({}): {}, {} of {}; share wanted {:.1f} %, written {:.1f} %, read "
                  "{:.1f} %",
                  Printable(info.name), info.kind, ToString(info.state),
                  FormatBytes(info.used_bytes), FormatBytes(info.capacity_bytes), 100 * info.share,
                  100 * counted.share_written, 100 * counted.share_read));
  lines.push_back(BandwidthLine("read", rate(info.bytes_read, info_before.bytes_read),
                                info.measured_read_bytes_per_s,
                                counted.read_latency.Since(counted_before.read_latency)));
  lines.push_back(BandwidthLine("write", rate(info.bytes_written, info_before.bytes_written),
                                info.measured_write_bytes_per_s,
                                counted.write_latency.Since(counted_before.write_latency)));
  lines.push_back(
      fmt::format("  in flight {}, waiting {}; errors {}, checksum failures {}, drains {}",
                  counted.transfers_in_flight, counted.units_waiting, info.io_errors,
                  info.checksum_failures, counted.drains));
  if (!info.state_reason.empty()) lines.push_back("  " + Printable(info.state_reason));
}

pool::SpaceCounts AllSpaces(const pool::PoolStatistics& statistics) {
  pool::SpaceCounts all = statistics.other_spaces;
  for (const pool::SpaceStatistics& space : statistics.spaces) all += space.counts;
  return all;
}

void AddSpaces(const pool::PoolStatistics& statistics, std::vector<std::string>& lines) {
  for (std::size_t i = 0; i < std::min(statistics.spaces.size(), kMostSpaces); ++i) {
    const pool::SpaceStatistics& space = statistics.spaces[i];
    lines.push_back(fmt::format("space {} {} {}: hits {}, misses {}, stored {}, ratio {}", space.id,
                                Printable(space.model), Printable(space.rank), space.counts.hits,
                                space.counts.misses, space.counts.stored, HitRatio(space.counts)));
  }
}

void AddClients(const status::DaemonStatus& now, std::vector<std::string>& lines) {
  for (std::size_t i = 0; i < std::min(now.clients.size(), kMostClients); ++i) {
    const server::ClientInfo& client = now.clients[i];
    lines.push_back(fmt::format(
        "client {} (process {}, user {}) for {}", Printable(client.program), client.pid, client.uid,
        FormatTime(1e-9 * static_cast<double>(now.pool.now_ns - client.since_ns))));
  }
}

// Of another daemon, or of other devices, there is nothing to compare with.
bool Comparable(const status::DaemonStatus& now, const status::DaemonStatus& before) {
  return now.up_s >= before.up_s && now.pool.devices.size() == before.pool.devices.size();
}

}  // namespace

std::vector<std::string> TopLines(const status::DaemonStatus& now,
                                  const status::DaemonStatus& before, std::size_t columns) {
  const status::DaemonStatus& since = Comparable(now, before) ? before : now;
  const PoolInfo& info = now.pool.info;
  std::vector<std::string> lines;
  lines.push_back(fmt::format("pool \"{}\", up {}: {} blocks, {}; clients {}; hit ratio {}",
                              Printable(info.name), FormatTime(now.up_s), info.blocks,
                              FormatBytes(info.block_bytes), now.clients.size(),
                              HitRatio(AllSpaces(now.pool))));
  lines.push_back(fmt::format("evictions {}, spilled {}, in memory only {}", info.evictions,
                              FormatBytes(now.pool.spilled_bytes), FormatBytes(info.dirty_bytes)));
  for (std::size_t i = 0; i < now.pool.devices.size(); ++i) AddDevice(now, since, i, lines);
  AddSpaces(now.pool, lines);
  AddClients(now, lines);
  for (std::string& line : lines) line.resize(std::min(line.size(), columns));
  return lines;
}

}  // namespace kvpool::cli
