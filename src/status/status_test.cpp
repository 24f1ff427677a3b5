#include "status/status.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/limits.h"

namespace kvpool::status {
namespace {

// As much as there can be of everything.
DaemonStatus Full(std::size_t devices) {
  DaemonStatus status;
  status.version = "1.2.3";
  status.up_s = 12.5;
  auto& pool = status.pool;
  pool.info.name = "p\xff\"";
  pool.now_ns = std::int64_t{1} << 62;
  pool.info.evictions = ~std::uint64_t{0};
  pool.other_spaces.declined = 7;
  pool.spilled_units = 3;
  std::vector<pool::LoggedDevice> parts;
  for (std::size_t i = 0; i < devices; ++i) {
    pool.info.devices.push_back({.name = std::string(64, 'd'), .kind = "file"});
    pool.info.devices.back().state = DeviceState::kDrained;
    pool.info.devices.back().state_reason = std::string(320, 'r');
    pool.info.devices.back().description = std::string(320, 't');
    pool.info.devices.back().measured_read_bytes_per_s = 3e9;
    pool.info.devices.back().share = 0.25;
    pool.devices.push_back({.units_waiting = i, .share_read = 0.125, .drains = 2});
    pool.devices.back().read_latency.counts.fill(~std::uint64_t{0});
    pool.devices.back().write_latency.sum_ns = i;
    parts.push_back({static_cast<std::uint32_t>(i), ~std::uint64_t{0}, std::int64_t{1} << 62});
  }
  const std::string text(pool::kMostSpaceTextShown, 'x');
  for (std::uint32_t i = 0; i < pool::kMostSpacesShown; ++i) {
    pool.spaces.push_back({i, text, text, text, text, text, text, {.hits = i, .misses = 9}});
  }
  const std::int64_t ns = std::int64_t{1} << 62;
  pool.gets.assign(pool::kRequestsLogged, {1, ns, ns, ~std::uint64_t{0}, 65536, 65535, parts});
  pool.puts = pool.gets;
  status.clients.assign(64, {4'000'000'000u, 4'000'000'000u, std::string(63, 'p'), ns});
  return status;
}

TEST(Status, ComesBackAsItWas) {
  const std::string json = ToJson(Full(2));
  const auto again = FromJson(json);
  ASSERT_TRUE(again);
  EXPECT_EQ(ToJson(*again), json);
  EXPECT_EQ(again->up_s, 12.5);
  EXPECT_EQ(again->pool.info.devices[1].state, DeviceState::kDrained);
  EXPECT_EQ(again->pool.devices[1].units_waiting, 1u);
  EXPECT_EQ(again->pool.devices[1].read_latency.counts[3], ~std::uint64_t{0});
  EXPECT_EQ(again->pool.gets.back().devices[1].device, 1u);
  EXPECT_EQ(again->pool.spaces[5].counts.hits, 5u);
}

TEST(Status, FitsIntoAMessage) { EXPECT_LT(ToJson(Full(kMaxDevices)).size(), kMiB - 4096); }

TEST(Status, RefusesWhatIsNoStatus) {
  EXPECT_FALSE(FromJson(""));
  EXPECT_FALSE(FromJson("[]"));
  EXPECT_FALSE(FromJson("{}"));
  const auto json = nlohmann::json::parse(ToJson(Full(2)));
  const auto refused = [&](const char* pointer, const nlohmann::json& value) {
    auto changed = json;
    changed[nlohmann::json::json_pointer(pointer)] = value;
    return !FromJson(changed.dump());
  };
  EXPECT_FALSE(refused("/pool/now_ns", 5));  // the control
  EXPECT_TRUE(refused("/pool/now_ns", "5"));
  EXPECT_TRUE(refused("/pool/blocks", -1));
  EXPECT_TRUE(refused("/pool/blocks", 1e300));
  EXPECT_TRUE(refused("/devices/0/state", "asleep"));
  EXPECT_TRUE(refused("/devices/0/read_latency/counts", nlohmann::json::array()));
  EXPECT_TRUE(refused("/pool/gets/0/devices/0/device", 2));
  EXPECT_TRUE(refused("/pool/gets/0/devices/0/device", std::uint64_t{1} << 40));
}

}  // namespace
}  // namespace kvpool::status
