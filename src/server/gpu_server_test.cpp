// A daemon copies straight between its devices and its clients' memory on a GPU. The null GPU's is
// a memfd that the client maps; its bytes move when their time has come.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <optional>
#include <thread>

#include "ipc/records.h"
#include "mem/region.h"
#include "pool/test_pool.h"
#include "server/grants.h"
#include "server/test_daemon.h"

namespace kvpool::server {
namespace {

using pool::All;
using pool::Blocks;
using pool::Complete;

constexpr std::size_t kBlock = 512 * kKiB;
constexpr std::size_t kBlocks = 8;
const SpaceSpec kSpec{.model = "m", .layers = 8};

Config GpuPool(const pool::TempDir& dir, double bytes_per_s = 4e9) {
  Config config;
  config.devices = {pool::MemoryDevice("ram", 64 * kMiB), pool::FileDevice(dir, "ssd", 64 * kMiB)};
  config.gpus = {
      {.name = "toy", .kind = GpuKind::kNull, .bytes_per_s = bytes_per_s, .latency_us = 10}};
  return config;
}

// A client's memory on the GPU, with room for the blocks.
struct GpuMemory {
  std::unique_ptr<mem::Region> region = mem::Region::Make({.bytes = kBlocks * kBlock}).value();
  std::vector<Segment> segments;

  GpuMemory() {
    for (std::size_t i = 0; i < kBlocks; ++i) {
      segments.push_back({region->bytes().data() + i * kBlock, kBlock, MemoryKind::kGpu});
    }
  }
  bool Has(const Blocks& blocks) const {
    return std::memcmp(region->bytes().data(), blocks.bytes.data(), blocks.bytes.size()) == 0;
  }
};

int MappingsOf(const mem::Region& region) {
  struct stat status{};
  EXPECT_EQ(::fstat(region.fd(), &status), 0);
  const std::string inode = " " + std::to_string(status.st_ino) + " ";
  std::ifstream maps("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find(inode) != line.npos ? 1 : 0;
  return count;
}

class GpuServerTest : public ::testing::Test {
 protected:
  void Serve(const Config& config) {
    daemon_.emplace(dir_, config);
    pool_ = Pool::Open(daemon_->client()).value();
    channel_ = pool_->OpenChannel().value();
    space_ = pool_->OpenSpace(kSpec).value();
  }
  ~GpuServerTest() override {
    channel_.reset();
    pool_.reset();
  }
  std::vector<Status> Put(std::span<const Segment> from) {
    PutRequest put;
    put.space = space_;
    put.keys = blocks_.keys;
    put.from = from;
    Complete(*channel_, put);
    return {put.results().begin(), put.results().end()};
  }
  Status Submit(GetRequest& get, std::span<const Segment> into, std::size_t segments = 1) {
    get.space = space_;
    get.keys = std::span(blocks_.keys).first(into.size() / segments);
    get.into = into;
    return channel_->Submit(get);
  }
  // `segments`: of each block.
  std::vector<Status> Get(std::span<const Segment> into, std::size_t segments = 1) {
    GetRequest get;
    EXPECT_EQ(Submit(get, into, segments), Status::kOk);
    return Await(get);
  }
  std::vector<Status> Await(GetRequest& get) {
    Request* done = nullptr;
    while (channel_->Poll({&done, 1}) == 0) EXPECT_TRUE(channel_->Wait(std::chrono::seconds(60)));
    EXPECT_EQ(done, &get);
    return {get.results().begin(), get.results().end()};
  }
  std::string Failure() { return pool_->info().gpus.at(0).failure; }

  const pool::TempDir dir_;
  const Blocks blocks_{"context", kBlocks, kBlock};
  std::optional<TestDaemon> daemon_;
  std::unique_ptr<Pool> pool_;
  std::unique_ptr<Channel> channel_;
  Space space_;
};

TEST_F(GpuServerTest, BytesGoStraightBothWays) {
  Serve(GpuPool(dir_));
  EXPECT_EQ(pool_->info().gpus.at(0).name, "toy");
  EXPECT_EQ(pool_->info().gpus.at(0).identity, "null");
  GpuMemory stored;
  std::memcpy(stored.region->bytes().data(), blocks_.bytes.data(), blocks_.bytes.size());
  ASSERT_EQ(Put(stored.segments), All(kBlocks, Status::kOk));
  GpuMemory into;
  EXPECT_EQ(Get(into.segments), All(kBlocks, Status::kOk));
  EXPECT_TRUE(into.Has(blocks_));
  pool::Room room(blocks_);  // and as from any other memory
  EXPECT_EQ(Get(room.segments), All(kBlocks, Status::kOk));
  EXPECT_EQ(room.bytes, blocks_.bytes);
}

// What is copied through other memory has no layers before the end.
TEST_F(GpuServerTest, LayersAreReadyOneByOne) {
  Serve(GpuPool(dir_, 20e6));
  ASSERT_EQ(Put(blocks_.segments), All(kBlocks, Status::kOk));
  GpuMemory into;
  GetRequest get;
  ASSERT_EQ(Submit(get, into.segments), Status::kOk);
  std::uint32_t seen = 0;
  std::uint32_t moments = 0;
  const std::size_t layer_bytes = kBlock / kSpec.layers;
  Request* done = nullptr;
  while (channel_->Poll({&done, 1}) == 0) {
    const std::uint32_t ready = get.LayersReady();
    moments += ready != seen ? 1 : 0;
    for (; seen < ready; ++seen) {
      for (std::size_t block = 0; block < kBlocks; ++block) {
        const std::size_t at = block * kBlock + seen * layer_bytes;
        EXPECT_EQ(
            std::memcmp(into.region->bytes().data() + at, blocks_.bytes.data() + at, layer_bytes),
            0)
            << "layer " << seen << " of block " << block;
      }
    }
    channel_->Wait(std::chrono::milliseconds(1));
  }
  EXPECT_GE(moments, 2u);
  EXPECT_TRUE(into.Has(blocks_));
}

TEST_F(GpuServerTest, ABlockMayLieOnBothSides) {
  Serve(GpuPool(dir_));
  ASSERT_EQ(Put(blocks_.segments), All(kBlocks, Status::kOk));
  GpuMemory on_gpu;
  pool::Room room(blocks_);
  std::vector<Segment> into;
  for (std::size_t i = 0; i < kBlocks; ++i) {
    into.push_back({on_gpu.segments[i].data, kBlock / 2, MemoryKind::kGpu});
    into.push_back({nullptr, 0, MemoryKind::kGpu});
    into.push_back({room.bytes.data() + i * kBlock + kBlock / 2, kBlock / 2});
  }
  EXPECT_EQ(Get(into, 3), All(kBlocks, Status::kOk));
  for (std::size_t i = 0; i < kBlocks; ++i) {
    const std::size_t at = i * kBlock;
    std::memcpy(room.bytes.data() + at, on_gpu.region->bytes().data() + at, kBlock / 2);
  }
  EXPECT_EQ(room.bytes, blocks_.bytes);
}

TEST_F(GpuServerTest, ASegmentMayHaveNoBytes) {
  Serve(GpuPool(dir_));
  ASSERT_EQ(Put(blocks_.segments), All(kBlocks, Status::kOk));
  const GpuMemory on_gpu;
  std::vector<Segment> into;
  for (const Segment& segment : on_gpu.segments) {
    into.push_back({nullptr, 0, MemoryKind::kGpu});
    into.push_back(segment);
  }
  EXPECT_EQ(Get(into, 2), All(kBlocks, Status::kOk));
  EXPECT_TRUE(on_gpu.Has(blocks_));
}

TEST_F(GpuServerTest, ARequestEndsByItsDeadline) {
  Config config = GpuPool(dir_);
  config.devices = {pool::MemoryDevice("ram", 64 * kMiB, 20e6)};
  config.devices[0].slow = SlowConfig{.bytes_per_s = 20e6};  // all blocks: 200 ms
  Serve(config);
  ASSERT_EQ(Put(blocks_.segments), All(kBlocks, Status::kOk));
  GpuMemory into;
  GetRequest get;
  get.deadline = std::chrono::milliseconds(30);
  ASSERT_EQ(Submit(get, into.segments), Status::kOk);
  EXPECT_EQ(Await(get).back(), Status::kTimedOut);
  EXPECT_EQ(Get(into.segments), All(kBlocks, Status::kOk)) << "and it may be asked again";
  EXPECT_TRUE(into.Has(blocks_));
}

TEST_F(GpuServerTest, WhatIsNoGpusMemoryIsRefused) {
  Serve(GpuPool(dir_));
  pool::Room heap(blocks_);
  for (Segment& segment : heap.segments) segment.kind = MemoryKind::kGpu;
  GetRequest get;
  EXPECT_EQ(Submit(get, heap.segments), Status::kInvalid);
  EXPECT_NE(Failure().find("in the memory of none"), std::string::npos);
  GpuMemory into;
  std::vector<Segment> beyond{{into.segments.back().data, 2 * kMiB, MemoryKind::kGpu}};
  EXPECT_EQ(Submit(get, beyond), Status::kInvalid);
  get.lease = true;
  EXPECT_EQ(Submit(get, into.segments), Status::kInvalid);
  get.lease = false;
  EXPECT_EQ(Submit(get, into.segments), Status::kOk);
  Await(get);
  EXPECT_EQ(Failure(), "");
}

TEST_F(GpuServerTest, ADaemonWithoutAGpuSaysSo) {
  Config config = GpuPool(dir_);
  config.gpus.clear();
  Serve(config);
  GpuMemory into;
  GetRequest get;
  EXPECT_EQ(Submit(get, into.segments), Status::kUnsupported);
  EXPECT_TRUE(pool_->info().gpus.empty());
}

// What the daemon cannot open is said, and does not count as open.
TEST_F(GpuServerTest, MemoryThatTheDaemonRefusesIsSaid) {
  Serve(GpuPool(dir_));
  const Descriptor unsealed(::memfd_create("unsealed", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(unsealed.get(), 2 * kMiB), 0);
  auto* const data = static_cast<std::byte*>(
      ::mmap(nullptr, 2 * kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, unsealed.get(), 0));
  const std::vector<Segment> into{{data, kBlock, MemoryKind::kGpu}};
  for (int i = 0; i < 2; ++i) {
    GetRequest get;
    EXPECT_EQ(Submit(get, into), Status::kUnsupported);
    EXPECT_NE(Failure().find("sealed"), std::string::npos) << Failure();
  }
  ::munmap(data, 2 * kMiB);
}

TEST_F(GpuServerTest, ADaemonThatComesBackIsSentTheMemoryAgain) {
  Config config = GpuPool(dir_);
  config.catalog = dir_.path() / "catalog";
  Serve(config);
  ASSERT_EQ(Put(blocks_.segments), All(kBlocks, Status::kOk));
  GpuMemory into;
  EXPECT_EQ(Get(into.segments), All(kBlocks, Status::kOk));
  EXPECT_EQ(MappingsOf(*into.region), 2);
  daemon_->Stop();
  EXPECT_EQ(MappingsOf(*into.region), 1) << "nothing of it stays";
  EXPECT_EQ(Get(into.segments), All(kBlocks, Status::kCancelled));
  std::memset(into.region->bytes().data(), 0, kBlocks * kBlock);
  daemon_->Start();
  std::vector<Status> results;
  do {
    results = Get(into.segments);
  } while (results[0] == Status::kCancelled);
  EXPECT_EQ(results, All(kBlocks, Status::kOk));
  EXPECT_TRUE(into.Has(blocks_));
}

// Each with memory that comes and goes, all with the one client.
TEST_F(GpuServerTest, ThreadsHaveChannelsOfTheirOwn) {
  Serve(GpuPool(dir_));
  ASSERT_EQ(Put(blocks_.segments), All(kBlocks, Status::kOk));
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      const auto channel = pool_->OpenChannel().value();
      for (int round = 0; round < 5; ++round) {
        const GpuMemory into;
        GetRequest get;
        get.space = space_;
        get.keys = blocks_.keys;
        get.into = into.segments;
        if (channel->Submit(get) != Status::kOk) return;
        Request* done = nullptr;
        while (channel->Poll({&done, 1}) == 0) channel->Wait(std::chrono::seconds(60));
        right += into.Has(blocks_) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right.load(), 15);
}

TEST_F(GpuServerTest, MemoryThatIsMadeAnewInItsPlaceIsSentAnew) {
  Serve(GpuPool(dir_));
  ASSERT_EQ(Put(blocks_.segments), All(kBlocks, Status::kOk));
  GpuMemory into;
  EXPECT_EQ(Get(into.segments), All(kBlocks, Status::kOk));
  const GpuMemory other;
  std::byte* const place = into.region->bytes().data();
  ASSERT_NE(::mmap(place, kBlocks * kBlock, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                   other.region->fd(), 0),
            MAP_FAILED);
  EXPECT_EQ(MappingsOf(*into.region), 1) << "the daemon's";
  EXPECT_EQ(Get(into.segments), All(kBlocks, Status::kOk));
  EXPECT_TRUE(other.Has(blocks_));
  EXPECT_EQ(MappingsOf(*into.region), 0) << "it was closed";
}

// --- what a client may ask that is not this library ---

std::vector<std::byte> Question(std::uint64_t bytes, std::string_view gpu = "null") {
  ipc::GpuRegionQuestion question{.bytes = bytes};
  question.gpu.Set(gpu);
  std::vector<std::byte> sent;
  ipc::AppendBytes(sent, ipc::BytesOf(question));
  return sent;
}

Descriptor CopyOf(int fd) { return Descriptor(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

class GpuGrantsTest : public GpuServerTest {
 protected:
  void Grant(Access access = {}) {
    spaces_.emplace(daemon_->pool());
    grants_.emplace(daemon_->pool(), *spaces_, std::move(access));
  }
  Status Ask(std::span<const std::byte> question, int fd) {
    Descriptor with = fd < 0 ? Descriptor() : CopyOf(fd);
    const std::span<Descriptor> descriptors(&with, fd < 0 ? 0 : 1);
    const auto reply = grants_->Answer(ipc::MessageType::kAddGpuRegion, question, descriptors);
    return reply ? Status::kOk : reply.error().status;
  }

  std::optional<SharedSpaces> spaces_;
  std::optional<Grants> grants_;
};

TEST_F(GpuGrantsTest, WhatIsForgedIsRefused) {
  Serve(GpuPool(dir_));
  Grant();
  const GpuMemory memory;
  const int fd = memory.region->fd();
  const std::uint64_t bytes = memory.region->bytes().size();
  EXPECT_EQ(Ask(Question(bytes), fd), Status::kOk);
  EXPECT_EQ(Ask(Question(bytes), -1), Status::kInvalid);
  EXPECT_EQ(Ask(Question(2 * bytes), fd), Status::kInvalid);
  EXPECT_EQ(Ask(Question(0), fd), Status::kInvalid);
  EXPECT_EQ(Ask(Question(std::uint64_t{1} << 41), fd), Status::kNoSpace);
  EXPECT_EQ(Ask(Question(bytes, "GPU-of-nobody"), fd), Status::kNotFound);
  EXPECT_EQ(Ask(Question(bytes, std::string(71, 'x')), fd), Status::kNotFound);
  auto short_one = Question(bytes);
  short_one.pop_back();
  EXPECT_EQ(Ask(short_one, fd), Status::kInvalid);
  EXPECT_EQ(MappingsOf(*memory.region), 2) << "what was refused is not mapped";
  grants_->TakeBack();
  EXPECT_EQ(MappingsOf(*memory.region), 1);
}

TEST_F(GpuGrantsTest, TheyCountAsRegions) {
  Serve(GpuPool(dir_));
  Grant();
  const GpuMemory memory;
  const std::uint64_t bytes = memory.region->bytes().size();
  for (std::size_t i = 0; i < ipc::kMaxClientRegions; ++i) {
    ASSERT_EQ(Ask(Question(bytes), memory.region->fd()), Status::kOk) << i;
  }
  EXPECT_EQ(Ask(Question(bytes), memory.region->fd()), Status::kNoSpace);
  const ipc::Named first{.id = 1};
  EXPECT_TRUE(grants_->Answer(ipc::MessageType::kRemoveRegion, ipc::BytesOf(first), {}));
  EXPECT_EQ(Ask(Question(bytes), memory.region->fd()), Status::kOk);
}

TEST_F(GpuGrantsTest, TheyTakeTheTenantsDescriptors) {
  Serve(GpuPool(dir_));
  DescriptorShares shares(0, 2);
  spaces_.emplace(daemon_->pool());
  grants_.emplace(daemon_->pool(), *spaces_, Access{}, 0, nullptr, &shares);
  const GpuMemory memory;
  const std::uint64_t bytes = memory.region->bytes().size();
  EXPECT_EQ(Ask(Question(bytes), memory.region->fd()), Status::kOk);
  EXPECT_EQ(Ask(Question(2 * bytes), memory.region->fd()), Status::kInvalid);  // and takes none
  EXPECT_EQ(Ask(Question(bytes), memory.region->fd()), Status::kOk);
  EXPECT_EQ(Ask(Question(bytes), memory.region->fd()), Status::kNoSpace);
  grants_->TakeBack();
  EXPECT_EQ(Ask(Question(bytes), memory.region->fd()), Status::kOk);
  grants_.reset();  // the shares outlive it
}

// Whose memory bytes are of that anybody may have, nobody knows.
TEST_F(GpuGrantsTest, WithTenantsAHandleIsADescriptor) {
  Config config = GpuPool(dir_);
  config.tenants = {{.name = "a", .users = {"1001"}}};
  daemon_.emplace(dir_, config);
  const GpuMemory memory;
  const std::uint64_t bytes = memory.region->bytes().size();
  Grant({.tenants = true, .tenant = {.number = 1, .name = "a"}, .sees_all = false});
  EXPECT_EQ(Ask(Question(bytes), -1), Status::kForbidden);
  EXPECT_EQ(Ask(Question(bytes), memory.region->fd()), Status::kOk);
  Grant({.tenants = true, .sees_all = false});
  EXPECT_EQ(Ask(Question(bytes), memory.region->fd()), Status::kForbidden) << "of no tenant";
}

}  // namespace
}  // namespace kvpool::server
