// A daemon that lends its memory, in a test's own process, and clients that lease from it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "pool/test_pool.h"
#include "server/test_daemon.h"

namespace kvpool::server {

struct LeaseClient {
  std::unique_ptr<Pool> pool;
  std::unique_ptr<Channel> channel;
  Space space;

  LeaseClient(const Config& config, const SpaceSpec& spec)
      : pool(Pool::Open(config).value()),
        channel(pool->OpenChannel().value()),
        space(pool->OpenSpace(spec).value()) {}
  void Lease(GetRequest& get, const pool::Blocks& blocks, pool::Room& room) const {
    pool::Aim(get, space, blocks, room);
    get.lease = true;
    pool::Complete(*channel, get);
  }
  std::vector<Status> Put(const pool::Blocks& blocks) const {
    return pool::Put(*channel, space, blocks);
  }
};

inline bool Within(const Segment& view, std::span<const std::byte> room) {
  return view.data >= room.data() && view.data < room.data() + room.size();
}

// Of the keys of a lease, those with a view outside of the caller's own memory.
inline std::size_t InPlace(const GetRequest& get, std::span<const std::byte> room) {
  std::size_t count = 0;
  for (std::size_t key = 0; key < get.keys.size(); ++key) {
    if (get.result(key) != Status::kOk) continue;
    const auto views = get.views(key);
    count += std::any_of(views.begin(), views.end(),
                         [&](const Segment& view) { return !Within(view, room); })
                 ? 1
                 : 0;
  }
  return count;
}

inline bool IsZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](auto byte) { return byte == std::byte{0}; });
}

// What was leased is what was put.
inline void ExpectStored(const GetRequest& get, const pool::Blocks& blocks) {
  for (std::size_t key = 0; key < blocks.keys.size(); ++key) {
    ASSERT_EQ(get.result(key), Status::kOk);
    std::vector<std::byte> bytes;
    for (const Segment& view : get.views(key)) {
      bytes.insert(bytes.end(), view.data, view.data + view.bytes);
    }
    const auto* stored = blocks.bytes.data() + key * blocks.block_bytes;
    EXPECT_EQ(bytes, std::vector(stored, stored + blocks.block_bytes)) << key;
  }
}

// The daemon is each test's own.
class LeaseTest : public testing::Test {
 protected:
  static constexpr std::size_t kBlockBytes = 512 * kKiB;
  static constexpr std::size_t kMemoryBytes = 32 * kMiB;

  void SetUp() override {
    if (!Lends()) GTEST_SKIP() << "memory is on reserved hugepages";
  }
  static SpaceSpec Spec() { return {.model = "m", .dtype = "bf16", .layers = 4}; }
  static Config MemoryOnly() {
    Config config;
    config.devices = {pool::MemoryDevice("ram", kMemoryBytes)};
    return config;
  }
  static LeaseClient ClientOf(const TestDaemon& daemon, const SpaceSpec& spec = Spec()) {
    return {daemon.client(), spec};
  }
  // Until it is so, for as long as a busy machine may take.
  static bool Becomes(const std::function<bool()>& so) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(120);
    while (!so()) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::this_thread::yield();
    }
    return true;
  }
  static bool NothingIsPinned(TestDaemon& daemon) {
    return Becomes([&] { return daemon.pool().audit().pinned_bytes == 0; });
  }

  pool::TempDir dir_;
  const pool::Blocks blocks_{"context", 8, kBlockBytes};
  pool::Room room_{blocks_};

 private:
  static bool Lends() {
    const auto pool = pool::PoolImpl::Open(MemoryOnly(), Clock::Monotonic(), pool::LogOnStderr,
                                           pool::Lending::kToClients);
    return pool && (*pool)->Lent((*pool)->OpenSpace(Spec()).value())[0] != nullptr;
  }
};

// With a daemon that has memory alone, and a client that has put the context there.
class StoredLeaseTest : public LeaseTest {
 protected:
  void SetUp() override {
    LeaseTest::SetUp();
    if (IsSkipped()) return;
    daemon_.emplace(dir_, MemoryOnly());
    client_.emplace(ClientOf(*daemon_));
    ASSERT_EQ(client_->Put(blocks_), pool::All(8, Status::kOk));
  }
  std::size_t pinned_bytes() { return daemon_->pool().audit().pinned_bytes; }
  bool NothingIsPinned() { return LeaseTest::NothingIsPinned(*daemon_); }

  std::optional<TestDaemon> daemon_;
  std::optional<LeaseClient> client_;
  GetRequest get_;
};

}  // namespace kvpool::server
