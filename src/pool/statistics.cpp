// What the pool's parts have counted, in one piece.
#include "pool/statistics.h"

#include <algorithm>

#include "pool/pool_impl.h"

namespace kvpool::pool {
namespace {

// A client may say anything in a text, and others show it.
std::string Shown(const std::string& text) {
  std::string shown = text.substr(0, kMostSpaceTextShown);
  std::replace_if(shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return shown;
}

std::uint64_t AskedFor(const SpaceCounts& counts) {
  return counts.hits + counts.misses + counts.stored + counts.declined;
}

std::uint64_t AtLeast0(const std::atomic<std::int64_t>& gauge) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, gauge.load()));
}

DeviceStatistics ReadCounters(const DeviceSlot& slot) {
  const DeviceCounters& counters = slot.counters;
  return {.background_bytes_read = counters.background_bytes_read.load(),
          .background_bytes_written = counters.background_bytes_written.load(),
          .read_latency = counters.read_latency.Read(),
          .write_latency = counters.write_latency.Read(),
          .transfers_in_flight = AtLeast0(counters.transfers_in_flight),
          .units_waiting = AtLeast0(counters.units_waiting),
          .drains = slot.health.drains()};
}

}  // namespace

SpaceCounts& SpaceCounts::operator+=(const SpaceCounts& other) {
  hits += other.hits;
  hit_bytes += other.hit_bytes;
  misses += other.misses;
  stored += other.stored;
  stored_bytes += other.stored_bytes;
  declined += other.declined;
  return *this;
}

void Store::CountSpaces(PoolStatistics& statistics) const {
  MutexLock lock(mutex_);
  std::vector<std::uint32_t> ids;
  for (std::uint32_t id = 0; id < spaces_.size(); ++id) {
    if (spaces_[id].open) ids.push_back(id);
  }
  const std::size_t shown = std::min(ids.size(), kMostSpacesShown);
  std::nth_element(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(shown), ids.end(),
                   [&](std::uint32_t a, std::uint32_t b) {
                     return AskedFor(spaces_[a].counts) > AskedFor(spaces_[b].counts);
                   });
  for (std::size_t i = shown; i < ids.size(); ++i) {
    statistics.other_spaces += spaces_[ids[i]].counts;
  }
  ids.resize(shown);
  std::sort(ids.begin(), ids.end());
  for (const std::uint32_t id : ids) {
    const SpaceSpec& spec = spaces_[id].spec;
    statistics.spaces.push_back({.id = id,
                                 .model = Shown(spec.model),
                                 .dtype = Shown(spec.dtype),
                                 .layer_group = Shown(spec.layer_group),
                                 .rank = Shown(spec.rank),
                                 .engine = Shown(spec.engine),
                                 .counts = spaces_[id].counts});
  }
}

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
