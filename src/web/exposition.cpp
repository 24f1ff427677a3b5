#include "web/exposition.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <map>

namespace kvpool::web {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

class Families {
 public:
  MetricFamily& Add(MetricType type, const char* name, const char* help) {
    families_.push_back({name, help, type, {}});
    return families_.back();
  }
  std::vector<MetricFamily> Take() { return std::move(families_); }

 private:
  std::vector<MetricFamily> families_;
};

void AddValue(MetricFamily& family, Labels labels, double value) {
  ClientMetric metric;
  metric.label = std::move(labels);
  family.type == MetricType::Counter ? metric.counter.value = value : metric.gauge.value = value;
  family.metric.push_back(std::move(metric));
}

void AddValue(MetricFamily& family, Labels labels, std::uint64_t value) {
  AddValue(family, std::move(labels), static_cast<double>(value));
}

void AddHistogram(MetricFamily& family, Labels labels, const pool::LatencyCounts& latency) {
  ClientMetric metric;
  metric.label = std::move(labels);
  auto& histogram = metric.histogram;
  for (std::size_t i = 0; i < pool::kLatencyBuckets; ++i) {
    histogram.sample_count += latency.counts[i];
    if (i + 1 == pool::kLatencyBuckets) break;  // the serializer adds the bound +Inf
    histogram.bucket.push_back(
        {histogram.sample_count, 1e-6 * static_cast<double>(pool::LatencyBoundUs(i))});
  }
  histogram.sample_sum = 1e-9 * static_cast<double>(latency.sum_ns);
  family.metric.push_back(std::move(metric));
}

// --- the pool as a whole ---

void AddPool(const status::DaemonStatus& status, Families& families) {
  const PoolInfo& info = status.pool.info;
  const auto value = [&](MetricType type, const char* name, const char* help, auto number) {
    AddValue(families.Add(type, name, help), {}, number);
  };
  constexpr auto kGauge = MetricType::Gauge;
  constexpr auto kCounter = MetricType::Counter;
  AddValue(families.Add(kGauge, "kvpool_build_info", "1; the version is a label"),
           {{"version", status.version}}, 1.0);
  value(kGauge, "kvpool_uptime_seconds", "Since the daemon started", status.up_s);
  value(kGauge, "kvpool_clients", "Processes that use the daemon now", status.clients.size());
  value(kGauge, "kvpool_blocks", "Blocks that can be found", info.blocks);
  value(kGauge, "kvpool_block_bytes", "Their bytes, without padding", info.block_bytes);
  value(kGauge, "kvpool_dirty_bytes", "Bytes that lie in memory only", info.dirty_bytes);
  value(kCounter, "kvpool_evictions_total", "Blocks that went to make room", info.evictions);
  value(kCounter, "kvpool_spilled_units_total", "Units copied from memory to drives",
        status.pool.spilled_units);
  value(kCounter, "kvpool_spilled_bytes_total", "The room that they take on drives",
        status.pool.spilled_bytes);
  std::map<std::string, std::uint64_t> got;
  for (std::size_t i = 0; i < info.devices.size(); ++i) {
    got[info.devices[i].kind] +=
        info.devices[i].bytes_read - status.pool.devices[i].mover_bytes_read;
  }
  MetricFamily& by_kind =
      families.Add(kCounter, "kvpool_get_bytes_total", "Bytes that gets read, by kind of device");
  for (const auto& [kind, bytes] : got) AddValue(by_kind, {{"kind", kind}}, bytes);
}

// --- devices ---

struct DeviceMetric {
  MetricType type;
  const char* name;
  const char* help;
  double (*value)(const DeviceInfo&, const pool::DeviceStatistics&);
};

#define KVPOOL_OF(expression)                                          \
  [](const DeviceInfo& info, const pool::DeviceStatistics& counted) {  \
    return (void)info, (void)counted, static_cast<double>(expression); \
  }

constexpr DeviceMetric kDeviceMetrics[] = {
    {MetricType::Gauge, "kvpool_device_serving", "1: it may be read; 0: drained or removed",
     KVPOOL_OF(info.state <= DeviceState::kLeaving)},
    {MetricType::Gauge, "kvpool_device_capacity_bytes", "Room for blocks",
     KVPOOL_OF(info.capacity_bytes)},
    {MetricType::Gauge, "kvpool_device_used_bytes", "Room that is taken",
     KVPOOL_OF(info.used_bytes)},
    {MetricType::Gauge, "kvpool_device_read_bandwidth_bytes_per_second",
     "What it can read, as placement sees it", KVPOOL_OF(info.measured_read_bytes_per_s)},
    {MetricType::Gauge, "kvpool_device_write_bandwidth_bytes_per_second", "What it can write",
     KVPOOL_OF(info.measured_write_bytes_per_s)},
    {MetricType::Counter, "kvpool_device_read_bytes_total", "Bytes read",
     KVPOOL_OF(info.bytes_read)},
    {MetricType::Counter, "kvpool_device_written_bytes_total", "Bytes written",
     KVPOOL_OF(info.bytes_written)},
    {MetricType::Counter, "kvpool_device_mover_read_bytes_total",
     "Of these: read for spills and evacuations", KVPOOL_OF(counted.mover_bytes_read)},
    {MetricType::Counter, "kvpool_device_mover_written_bytes_total",
     "Of these: written for spills and evacuations", KVPOOL_OF(counted.mover_bytes_written)},
    {MetricType::Gauge, "kvpool_device_transfers_in_flight", "Transfers that it works on",
     KVPOOL_OF(counted.transfers_in_flight)},
    {MetricType::Gauge, "kvpool_device_units_waiting", "Units that wait for it",
     KVPOOL_OF(counted.units_waiting)},
    {MetricType::Gauge, "kvpool_device_share_wanted_ratio",
     "Share of what is written next, before limits of space", KVPOOL_OF(info.share)},
    {MetricType::Gauge, "kvpool_device_share_read_ratio", "Share of the bytes of the last 64 gets",
     KVPOOL_OF(counted.share_read)},
    {MetricType::Gauge, "kvpool_device_share_written_ratio",
     "Share of the bytes of the last 64 puts", KVPOOL_OF(counted.share_written)},
    {MetricType::Counter, "kvpool_device_io_errors_total", "Transfers that failed",
     KVPOOL_OF(info.io_errors)},
    {MetricType::Counter, "kvpool_device_checksum_failures_total",
     "Units that came back with wrong bytes", KVPOOL_OF(info.checksum_failures)},
    {MetricType::Counter, "kvpool_device_missed_deadlines_total",
     "Times that requests ended by their deadline while it held transfers",
     KVPOOL_OF(info.missed_deadlines)},
    {MetricType::Counter, "kvpool_device_abandoned_transfers_total",
     "Transfers that it did not let go of", KVPOOL_OF(info.transfers_abandoned)},
    {MetricType::Counter, "kvpool_device_drains_total", "Times that it was drained",
     KVPOOL_OF(counted.drains)},
};

#undef KVPOOL_OF

void AddDevices(const pool::PoolStatistics& pool, Families& families) {
  for (const DeviceMetric& metric : kDeviceMetrics) {
    MetricFamily& family = families.Add(metric.type, metric.name, metric.help);
    for (std::size_t i = 0; i < pool.devices.size(); ++i) {
      const DeviceInfo& info = pool.info.devices[i];
      AddValue(family, {{"device", info.name}}, metric.value(info, pool.devices[i]));
    }
  }
  MetricFamily& reads = families.Add(MetricType::Histogram, "kvpool_device_read_latency_seconds",
                                     "From the issue of a read until its end was seen");
  for (std::size_t i = 0; i < pool.devices.size(); ++i) {
    AddHistogram(reads, {{"device", pool.info.devices[i].name}}, pool.devices[i].read_latency);
  }
  MetricFamily& writes = families.Add(MetricType::Histogram, "kvpool_device_write_latency_seconds",
                                      "The same of writes");
  for (std::size_t i = 0; i < pool.devices.size(); ++i) {
    AddHistogram(writes, {{"device", pool.info.devices[i].name}}, pool.devices[i].write_latency);
  }
}

// --- spaces ---

struct SpaceMetric {
  const char* name;
  const char* help;
  std::uint64_t pool::SpaceCounts::* count;
};

constexpr SpaceMetric kSpaceMetrics[] = {
    {"kvpool_space_hit_blocks_total", "Blocks that gets delivered", &pool::SpaceCounts::hits},
    {"kvpool_space_hit_bytes_total", "Their bytes", &pool::SpaceCounts::hit_bytes},
    {"kvpool_space_missed_blocks_total", "Blocks that gets asked for and did not get",
     &pool::SpaceCounts::misses},
    {"kvpool_space_stored_blocks_total", "Blocks that puts added", &pool::SpaceCounts::stored},
    {"kvpool_space_stored_bytes_total", "Their bytes", &pool::SpaceCounts::stored_bytes},
    {"kvpool_space_declined_blocks_total", "Blocks that were put and not admitted",
     &pool::SpaceCounts::declined},
};

void AddSpaces(const pool::PoolStatistics& pool, Families& families) {
  for (const SpaceMetric& metric : kSpaceMetrics) {
    MetricFamily& family = families.Add(MetricType::Counter, metric.name, metric.help);
    for (const pool::SpaceStatistics& space : pool.spaces) {
      AddValue(family,
               {{"space", std::to_string(space.id)},
                {"model", space.model},
                {"dtype", space.dtype},
                {"layer_group", space.layer_group},
                {"rank", space.rank},
                {"engine", space.engine},
                {"owner", space.owner}},
               space.counts.*metric.count);
    }
    AddValue(family, {{"space", "other"}}, pool.other_spaces.*metric.count);
  }
}

}  // namespace

std::string Exposition(const status::DaemonStatus& status) {
  Families families;
  AddPool(status, families);
  AddDevices(status.pool, families);
  AddSpaces(status.pool, families);
  return prometheus::TextSerializer().Serialize(families.Take());
}

}  // namespace kvpool::web
