// A daemon with tenants in a test's own process, and clients of theirs.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pool/test_pool.h"
#include "server/test_daemon.h"

namespace kvpool::server {

inline constexpr std::size_t kBlock = 64 * kKiB;

inline SpaceSpec SpecOf(std::string owner = "") {
  return {.model = "m", .dtype = "bf16", .owner = std::move(owner), .layers = 4};
}

// Users 1001 and 1002 are of tenants "a" and "b"; "c" reads what "a" has.
inline Config SmallPool(const pool::TempDir& dir) {
  Config config;
  config.devices = {pool::MemoryDevice("ram", 64 * kMiB), pool::FileDevice(dir, "ssd", 64 * kMiB)};
  config.catalog = dir.path() / "catalog";
  config.tenants = {{.name = "a",
                     .users = {"1001", "root"},
                     .groups = {"2001"},
                     .quota_bytes = 8 * kMiB,
                     .readers = {"c"}},
                    {.name = "b", .users = {"1002"}, .groups = {"2002"}, .weight = 3},
                    {.name = "c", .users = {"1003"}}};
  return config;
}

// A daemon whose clients are whom `next` says.
class Daemon : public TestDaemon {
 public:
  Daemon(const pool::TempDir& dir, const Config& config)
      : TestDaemon(dir, config, {.peer = [this](int) { return next; }}) {}
  Result<std::unique_ptr<Pool>> Connect(const Peer& peer) {
    next = peer;
    return Pool::Open(client());
  }

  Peer next;
};

inline Peer User(uid_t uid, std::vector<gid_t> groups = {}) {
  return {.pid = ::getpid(), .uid = uid, .gid = 9, .groups = std::move(groups)};
}

struct Client {
  std::unique_ptr<Pool> pool;
  std::unique_ptr<Channel> channel;

  Client(Daemon& daemon, uid_t uid) {
    auto opened = daemon.Connect(User(uid));
    EXPECT_TRUE(opened) << opened.error().message;
    if (!opened) return;
    pool = std::move(*opened);
    channel = pool->OpenChannel().value();
  }
  Space Open(const std::string& owner = "") { return pool->OpenSpace(SpecOf(owner)).value(); }
  std::vector<Status> Put(Space space, const pool::Blocks& blocks) {
    return pool::Put(*channel, space, blocks);
  }
  std::vector<Status> Get(Space space, const pool::Blocks& blocks, pool::Room& room) {
    return pool::Get(*channel, space, blocks, room);
  }
};

// The daemon is each test's own.
class TenantsServerTest : public testing::Test {
 protected:
  pool::TempDir dir_;
  Config config_ = SmallPool(dir_);
  const pool::Blocks blocks_{"context", 6, kBlock};
  pool::Room room_{blocks_};
};

}  // namespace kvpool::server
