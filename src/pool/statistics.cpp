// What the pool's parts have counted, in one piece.
#include "pool/statistics.h"

#include <algorithm>

#include "pool/pool_impl.h"

namespace kvpool::pool {
namespace {

std::uint64_t AtLeast0(const std::atomic<std::int64_t>& gauge) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, gauge.load()));
}

DeviceStatistics ReadCounters(const DeviceSlot& slot) {
  const DeviceCounters& counters = slot.counters;
  return {.mover_bytes_read = counters.mover_bytes_read.load(),
          .mover_bytes_written = counters.mover_bytes_written.load(),
          .read_latency = counters.read_latency.Read(),
          .write_latency = counters.write_latency.Read(),
          .transfers_in_flight = AtLeast0(counters.transfers_in_flight),
          .units_waiting = AtLeast0(counters.units_waiting),
          .drains = slot.health.drains()};
}

}  // namespace

PoolStatistics PoolImpl::statistics() const {
  PoolStatistics statistics;
  statistics.info = info();
  statistics.now_ns = clock_.NowNs();
  const Store::Counts counts = store_->counts();
  statistics.spilled_units = counts.spilled_units;
  statistics.spilled_bytes = counts.spilled_bytes;
  store_->CountSpaces(statistics);
  statistics.gets = gets_.Read();
  statistics.puts = puts_.Read();
  const std::vector<double> read = SharesOf(statistics.gets, slots_.size());
  const std::vector<double> written = SharesOf(statistics.puts, slots_.size());
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    statistics.devices.push_back(ReadCounters(*slots_[i]));
    statistics.devices.back().share_read = read[i];
    statistics.devices.back().share_written = written[i];
  }
  return statistics;
}

}  // namespace kvpool::pool
