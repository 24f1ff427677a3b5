// A daemon in a test's own process.
#pragma once

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <filesystem>
#include <memory>
#include <thread>

#include "base/descriptor.h"
#include "pool/test_pool.h"
#include "server/server.h"

namespace kvpool::server {

// Threads: one.
class TestDaemon {
 public:
  // Makes the files of the pool where they are not there. The socket lies in the folder.
  TestDaemon(const pool::TempDir& dir, Config config, ServerOptions options = {})
      : config_(std::move(config)), options_(std::move(options)) {
    options_.socket = dir.path() / "s";
    Start();
  }
  ~TestDaemon() { Stop(); }

  void Start() {
    const std::filesystem::path& file = config_.devices.back().path;
    if (!file.empty() && !std::filesystem::exists(file)) {
      ASSERT_TRUE(Pool::Create(config_));
    }
    auto pool = pool::PoolImpl::Open(config_, Clock::Monotonic(), pool::LogOnStderr,
                                     pool::Lending::kToClients);
    ASSERT_TRUE(pool) << pool.error().message;
    pool_ = std::move(*pool);
    auto server = Server::Listen(*pool_, options_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    Serve();
  }
  void Stop() {
    if (!server_) return;
    Pause();
    server_.reset();
    pool_.reset();
  }
  Result<void> Change(std::span<const TenantConfig> tenants) {
    Pause();
    auto changed = server_->Change(tenants);
    Serve();
    return changed;
  }

  Config client() const {
    Config config;
    config.socket = options_.socket;
    return config;
  }
  pool::PoolImpl& pool() { return *pool_; }

 private:
  void Serve() {
    thread_ = std::thread([this] { server_->Serve(stop_.get()); });
  }
  void Pause() {
    std::uint64_t one = 1;
    EXPECT_EQ(::write(stop_.get(), &one, sizeof one), 8);
    thread_.join();
    EXPECT_EQ(::read(stop_.get(), &one, sizeof one), 8);
  }

  const Config config_;
  ServerOptions options_;
  std::unique_ptr<pool::PoolImpl> pool_;
  std::unique_ptr<Server> server_;
  Descriptor stop_{::eventfd(0, EFD_CLOEXEC)};
  std::thread thread_;
};

}  // namespace kvpool::server
