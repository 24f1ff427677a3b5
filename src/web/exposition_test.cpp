#include "web/exposition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvpool::web {
namespace {

using testing::HasSubstr;

status::DaemonStatus Example() {
  status::DaemonStatus status;
  status.version = "1.2.3";
  status.clients.resize(3);
  status.pool.info.evictions = 5;
  status.pool.info.devices = {{.name = "ram", .kind = "memory", .bytes_read = 1000},
                              {.name = "a", .kind = "file", .bytes_read = 300},
                              {.name = "b", .kind = "file", .bytes_read = 30}};
  status.pool.info.devices[2].state = DeviceState::kDrained;
  status.pool.devices.resize(3);
  status.pool.devices[1].mover_bytes_read = 100;
  status.pool.devices[1].read_latency.counts[0] = 2;
  status.pool.devices[1].read_latency.counts[3] = 4;
  status.pool.devices[1].read_latency.counts.back() = 1;
  status.pool.devices[1].read_latency.sum_ns = 1'500'000'000;
  status.pool.spaces = {
      {.id = 4, .model = "m\"\\", .rank = "1", .owner = "o", .counts = {.hits = 7}}};
  status.pool.other_spaces.hits = 9;
  return status;
}

TEST(Exposition, SaysWhatTheStatusSays) {
  const std::string text = Exposition(Example());
  EXPECT_THAT(text, HasSubstr("kvpool_build_info{version=\"1.2.3\"} 1"));
  EXPECT_THAT(text, HasSubstr("\nkvpool_clients 3\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE kvpool_evictions_total counter\nkvpool_evictions_total 5\n"));
  EXPECT_THAT(text, HasSubstr("kvpool_device_read_bytes_total{device=\"ram\"} 1000\n"));
  EXPECT_THAT(text, HasSubstr("kvpool_device_serving{device=\"a\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("kvpool_device_serving{device=\"b\"} 0\n"));
  // Of requests alone.
  EXPECT_THAT(text, HasSubstr("kvpool_get_bytes_total{kind=\"file\"} 230\n"));
  EXPECT_THAT(text, HasSubstr("kvpool_space_hit_blocks_total{space=\"other\"} 9\n"));
  EXPECT_THAT(text, HasSubstr("{space=\"4\",model=\"m\\\"\\\\\",dtype=\"\",layer_group=\"\","
                              "rank=\"1\",engine=\"\",owner=\"o\"} 7\n"));
}

TEST(Exposition, GivesCumulativeBucketsInSeconds) {
  const std::string text = Exposition(Example());
  const std::string name = "kvpool_device_read_latency_seconds";
  EXPECT_THAT(text, HasSubstr(name + "_count{device=\"a\"} 7\n"));
  EXPECT_THAT(text, HasSubstr(name + "_sum{device=\"a\"} 1.5\n"));
  EXPECT_THAT(text, testing::ContainsRegex(name + "_bucket.device=\"a\",le=\"1e-06\". 2\n"));
  EXPECT_THAT(text, testing::ContainsRegex(name + "_bucket.device=\"a\",le=\"16.777[0-9]*\". 6\n"));
  EXPECT_THAT(text, testing::ContainsRegex(name + "_bucket.device=\"a\",le=\".Inf\". 7\n"));
}

}  // namespace
}  // namespace kvpool::web
