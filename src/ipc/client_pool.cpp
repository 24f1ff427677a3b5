#include "ipc/client_pool.h"

#include <algorithm>

#include "ipc/client_channel.h"

namespace kvpool::ipc {
namespace {

class RegionMemory final : public Memory {
 public:
  RegionMemory(std::shared_ptr<Client> client, std::shared_ptr<ClientRegion> region)
      : client_(std::move(client)), region_(std::move(region)) {}
  ~RegionMemory() override { client_->RemoveRegion(region_); }
  std::span<std::byte> bytes() const override { return region_->memory->bytes(); }
  std::string description() const override {
    return "shared with the daemon, " + region_->memory->description();
  }
  int descriptor() const override { return region_->memory->fd(); }

 private:
  const std::shared_ptr<Client> client_;
  const std::shared_ptr<ClientRegion> region_;
};

class CallersMemory final : public Memory {
 public:
  explicit CallersMemory(std::span<std::byte> bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes() const override { return bytes_; }
  std::string description() const override {
    return "the caller's own, which the daemon does not see: copied; memory that the pool "
           "allocates is not";
  }

 private:
  const std::span<std::byte> bytes_;
};

Result<void> NotHere() {
  return Fail(Status::kUnsupported,
              "the devices are the daemon's: change its pool file and start it again");
}

class ClientPool final : public Pool {
 public:
  explicit ClientPool(std::unique_ptr<Client> client) : client_(std::move(client)) {}

  Result<Space> OpenSpace(const SpaceSpec& spec) override { return client_->OpenSpace(spec); }
  Result<std::unique_ptr<Channel>> OpenChannel(const ChannelOptions& options) override {
    if (options.caller_driven) {
      return Fail(Status::kUnsupported,
                  "a daemon's channels are driven by its lanes: leave out caller_driven");
    }
    return ClientChannel::Open(*client_);
  }
  std::size_t Match(Space space, std::span<const Key> keys) const override {
    const auto table = client_->Presence(space);
    return table ? MatchIn(*table, keys) : 0;
  }
  void Contains(Space space, std::span<const Key> keys, std::span<bool> present) const override {
    const auto table = client_->Presence(space);
    std::transform(keys.begin(), keys.end(), present.begin(),
                   [&](Key key) { return table && IsIn(*table, key); });
  }
  Result<std::shared_ptr<Memory>> Allocate(std::uint64_t bytes, int numa_node,
                                           bool /*shareable*/) override {
    auto region = client_->AddRegion(bytes, RegionPurpose::kData, numa_node, true);
    if (!region) return tl::unexpected(region.error());
    return std::make_shared<RegionMemory>(client_, std::move(*region));
  }
  Result<std::shared_ptr<Memory>> Register(std::span<std::byte> bytes) override {
    if (bytes.empty()) return Fail(Status::kInvalid, "there is nothing to register: 0 bytes");
    return std::make_shared<CallersMemory>(bytes);
  }
  Result<void> RemoveDevice(std::string_view /*name*/) override { return NotHere(); }
  Result<void> ReplaceDevice(std::string_view /*name*/, const DeviceConfig& /*by*/) override {
    return NotHere();
  }
  PoolInfo info() const override {
    PoolInfo info = client_->Info().value_or(PoolInfo{});
    for (GpuInfo& gpu : info.gpus) {
      if (gpu.failure.empty()) gpu.failure = client_->gpus().failure();
    }
    return info;
  }

 private:
  const std::shared_ptr<Client> client_;
};

}  // namespace

Result<std::unique_ptr<Pool>> OpenClientPool(const std::filesystem::path& socket) {
  auto client = Client::Connect(socket);
  if (!client) return tl::unexpected(client.error());
  return std::make_unique<ClientPool>(std::move(*client));
}

}  // namespace kvpool::ipc
