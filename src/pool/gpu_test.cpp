// Gets into and puts from a GPU's memory, which the null stager plays: its bytes move when their
// time has come, so whatever is told too early, or freed, shows in them.
#include <algorithm>
#include <cstring>
#include <random>

#include "pool/gpu_test_pool.h"

namespace kvpool::pool {
namespace {

// The pages of a paged cache: every block is `pages` pieces, each somewhere else.
struct Pages {
  std::vector<std::byte> bytes;
  std::vector<Segment> segments;

  Pages(const Blocks& blocks, std::size_t pages, std::uint32_t seed)
      : bytes(blocks.bytes.size()), page_bytes_(blocks.block_bytes / pages) {
    const std::size_t count = blocks.keys.size() * pages;
    std::vector<std::size_t> order(count);
    for (std::size_t i = 0; i < count; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    for (const std::size_t at : order) {
      segments.push_back({bytes.data() + at * page_bytes_, page_bytes_, MemoryKind::kGpu});
    }
  }
  // In the blocks' order.
  std::vector<std::byte> Gathered() const {
    std::vector<std::byte> all;
    for (const Segment& page : segments) all.insert(all.end(), page.data, page.data + page.bytes);
    return all;
  }
  void Fill(const std::vector<std::byte>& from) {
    for (std::size_t i = 0; i < segments.size(); ++i) {
      std::memcpy(segments[i].data, from.data() + i * page_bytes_, page_bytes_);
    }
  }

 private:
  std::size_t page_bytes_;
};

class GpuTest : public GpuPoolTest {
 protected:
  void OpenPooled() {
    Open({Slow("ram", 800), Slow("ssd0", 400), Slow("ssd1", 200)}, {Null(2000)});
  }
  void Aim(GetRequest& get, const Blocks& blocks, std::span<const Segment> into) {
    get.space = space_;
    get.keys = blocks.keys;
    get.into = into;
  }

  const Blocks blocks_{"context", 16, kMiB};
};

TEST_F(GpuTest, AGetBringsTheBytesOfMemoryAndDrives) {
  OpenPooled();
  ASSERT_EQ(PutAll(blocks_, blocks_.segments), All(16, Status::kOk));
  Room room(blocks_);
  const auto into = OnGpu(room.segments);
  GetRequest get;
  Aim(get, blocks_, into);
  Run(get);
  EXPECT_EQ(std::vector(get.results().begin(), get.results().end()), All(16, Status::kOk));
  EXPECT_EQ(room.bytes, blocks_.bytes);
  EXPECT_EQ(get.LayersReady(), layers_);
  for (const DeviceInfo& device : pool_->info().devices) EXPECT_GT(device.bytes_read, 0u);
}

TEST_F(GpuTest, APutTakesThemFromThere) {
  OpenPooled();
  std::vector<std::byte> gpu = blocks_.bytes;
  std::vector<Segment> from;
  for (std::size_t i = 0; i < 16; ++i) from.push_back({gpu.data() + i * kMiB, kMiB});
  ASSERT_EQ(PutAll(blocks_, OnGpu(from)), All(16, Status::kOk));
  Room room(blocks_);  // in host memory: the bytes and their checksums are as by any other put
  GetRequest get;
  Aim(get, blocks_, room.segments);
  Run(get);
  EXPECT_EQ(std::vector(get.results().begin(), get.results().end()), All(16, Status::kOk));
  EXPECT_EQ(room.bytes, blocks_.bytes);
}

TEST_F(GpuTest, PagesMayLieAnywhere) {
  OpenPooled();
  Pages from(blocks_, 64, 1);
  from.Fill(blocks_.bytes);
  ASSERT_EQ(PutAll(blocks_, from.segments), All(16, Status::kOk));
  for (const std::size_t pages : {1, 4, 128}) {
    Pages into(blocks_, pages, 2);
    GetRequest get;
    Aim(get, blocks_, into.segments);
    Run(get);
    EXPECT_EQ(into.Gathered(), blocks_.bytes) << pages;
  }
}

TEST_F(GpuTest, ABlockMayLieOnBothSides) {
  OpenPooled();
  ASSERT_EQ(PutAll(blocks_, blocks_.segments), All(16, Status::kOk));
  Pages into(blocks_, 16, 3);
  for (std::size_t i = 0; i < into.segments.size(); i += 3)
    into.segments[i].kind = MemoryKind::kHost;
  GetRequest get;
  Aim(get, blocks_, into.segments);
  Run(get);
  EXPECT_EQ(into.Gathered(), blocks_.bytes);
}

// Layer l is ready when its bytes are in the GPU's memory: read at that moment, they are all there.
TEST_F(GpuTest, LayersAreReadyWhenTheirBytesAreThere) {
  OpenPooled();
  ASSERT_EQ(PutAll(blocks_, blocks_.segments), All(16, Status::kOk));
  Room room(blocks_);
  const auto into = OnGpu(room.segments);
  GetRequest get;
  Aim(get, blocks_, into);
  ASSERT_EQ(channel_->Submit(get), Status::kOk);
  const std::size_t layer_bytes = kMiB / layers_;
  std::uint32_t seen = 0;
  std::uint32_t moments = 0;
  Request* done = nullptr;
  const auto look = [&] {
    const std::uint32_t ready = get.LayersReady();
    moments += ready != seen ? 1 : 0;
    for (; seen < ready; ++seen) {
      for (std::size_t block = 0; block < 16; ++block) {
        const std::size_t at = block * kMiB + seen * layer_bytes;
        EXPECT_EQ(std::memcmp(room.bytes.data() + at, blocks_.bytes.data() + at, layer_bytes), 0)
            << "layer " << seen << " of block " << block;
      }
    }
    return channel_->Poll({&done, 1}) == 1;
  };
  RunUntil(look);
  EXPECT_EQ(seen, layers_);
  EXPECT_GE(moments, layers_ / 2) << "the layers came together";
}

// No more is read from a drive than staging takes: the GPU's link holds the reads back.
TEST_F(GpuTest, ASlowLinkHoldsTheReadsBack) {
  Open({Slow("ssd0", 4000)}, {Null(50)});
  const Blocks many("many", 48, kMiB);
  ASSERT_EQ(PutAll(many, many.segments), All(48, Status::kOk));
  Room room(many);
  const auto into = OnGpu(room.segments);
  GetRequest get;
  Aim(get, many, into);
  const std::uint64_t before = pool_->info().devices[0].bytes_read;
  ASSERT_EQ(channel_->Submit(get), Status::kOk);
  const std::int64_t until = clock_.NowNs() + 20'000'000;  // a MB for the link, 80 for the drive
  RunUntil([&] { return clock_.NowNs() >= until; });
  const std::uint64_t read = pool_->info().devices[0].bytes_read - before;
  EXPECT_GE(read, 4 * kMiB);
  EXPECT_LE(read, 36 * kMiB);
  Request* done = nullptr;
  RunUntil([&] { return channel_->Poll({&done, 1}) == 1; });
  EXPECT_EQ(room.bytes, many.bytes);
}

TEST_F(GpuTest, RequestsForTheHostGoOnBesideIt) {
  Open({Slow("ram", 800), Slow("ssd0", 400)}, {Null(20)});
  ASSERT_EQ(PutAll(blocks_, blocks_.segments), All(16, Status::kOk));
  Room slow(blocks_);
  Room room(blocks_);
  const auto into = OnGpu(slow.segments);
  GetRequest on_gpu;
  Aim(on_gpu, blocks_, into);
  GetRequest on_host;
  Aim(on_host, blocks_, room.segments);
  const auto other = pool_->OpenChannel({}).value();
  ASSERT_EQ(channel_->Submit(on_gpu), Status::kOk);
  ASSERT_EQ(other->Submit(on_host), Status::kOk);
  Request* done = nullptr;
  RunUntil([&] { return other->Poll({&done, 1}) == 1; });
  EXPECT_EQ(room.bytes, blocks_.bytes);
  RunUntil([&] { return channel_->Poll({&done, 1}) == 1; });
  EXPECT_EQ(slow.bytes, blocks_.bytes);
}

TEST_F(GpuTest, WithoutAGpuItSaysSo) {
  Open({Slow("ram", 800)}, {});
  Room room(blocks_);
  const auto into = OnGpu(room.segments);
  GetRequest get;
  Aim(get, blocks_, into);
  EXPECT_EQ(channel_->Submit(get), Status::kUnsupported);
  PutRequest put;
  put.space = space_;
  put.keys = blocks_.keys;
  put.from = into;
  EXPECT_EQ(channel_->Submit(put), Status::kUnsupported);
}

TEST_F(GpuTest, ALeaseIsOfHostMemory) {
  OpenPooled();
  Room room(blocks_);
  const auto into = OnGpu(room.segments);
  GetRequest get;
  Aim(get, blocks_, into);
  get.lease = true;
  EXPECT_EQ(channel_->Submit(get), Status::kInvalid);
}

// Two GPUs, each with a half of the addresses.
class HalfStager final : public StagerAround {
 public:
  HalfStager(std::shared_ptr<gpu::Stager> inner, std::span<const std::byte> own)
      : StagerAround(std::move(inner)), own_(own) {}
  gpu::Range RangeAround(const std::byte* address) const override {
    const auto begin = reinterpret_cast<std::uintptr_t>(own_.data());
    const gpu::Range range{begin, begin + own_.size()};
    return range.Holds(address, 1) ? range : gpu::Range{};
  }

 private:
  const std::span<const std::byte> own_;
};

TEST_F(GpuTest, TheGpuIsFoundByTheAddress) {
  Room room(blocks_);
  const std::span<const std::byte> all(room.bytes);
  Open({Slow("ram", 800), Slow("ssd0", 400)},
       {std::make_shared<HalfStager>(Null(2000), all.first(8 * kMiB)),
        std::make_shared<HalfStager>(Null(2000), all.subspan(8 * kMiB))});
  ASSERT_EQ(PutAll(blocks_, blocks_.segments), All(16, Status::kOk));
  const auto into = OnGpu(room.segments);
  for (const std::size_t first : {0, 8}) {
    GetRequest get;
    get.space = space_;
    get.keys = std::span(blocks_.keys).subspan(first, 8);
    get.into = std::span(into).subspan(first, 8);
    Run(get);
  }
  EXPECT_EQ(room.bytes, blocks_.bytes);
  GetRequest both;
  Aim(both, blocks_, into);
  EXPECT_EQ(channel_->Submit(both), Status::kInvalid);
  std::vector<Segment> beyond = {{room.bytes.data() + 15 * kMiB, 2 * kMiB, MemoryKind::kGpu}};
  GetRequest outside;
  outside.space = space_;
  outside.keys = std::span(blocks_.keys).first(1);
  outside.into = beyond;
  EXPECT_EQ(channel_->Submit(outside), Status::kInvalid);
}

// Three requests at once, of a client each: to a GPU behind a slow link, to one behind a fast link,
// and to the host. What the slow one holds back is its own.
TEST_F(GpuTest, ABusyLinkHoldsUpNobodyElse) {
  Room slow(blocks_), fast(blocks_), host(blocks_);
  Open({Slow("ram", 800), Slow("ssd0", 400)},
       {std::make_shared<HalfStager>(Null(20), slow.bytes),
        std::make_shared<HalfStager>(Null(4000), fast.bytes)});
  ASSERT_EQ(PutAll(blocks_, blocks_.segments), All(16, Status::kOk));
  const std::vector<Segment> into[] = {OnGpu(slow.segments), OnGpu(fast.segments), host.segments};
  std::unique_ptr<Channel> channels[3];
  GetRequest gets[3];
  const std::int64_t begin_ns = clock_.NowNs();
  for (std::size_t i = 0; i < 3; ++i) {
    channels[i] = pool_->OpenChannel({}).value();
    Aim(gets[i], blocks_, into[i]);
    ASSERT_EQ(channels[i]->Submit(gets[i]), Status::kOk);
  }
  std::int64_t ended_ns[3] = {};
  Request* done = nullptr;
  RunUntil([&] {
    for (std::size_t i = 0; i < 3; ++i) {
      if (channels[i]->Poll({&done, 1}) == 1) ended_ns[i] = clock_.NowNs() - begin_ns;
    }
    return std::all_of(ended_ns, ended_ns + 3, [](std::int64_t ns) { return ns != 0; });
  });
  for (const Room* room : {&slow, &fast, &host}) EXPECT_EQ(room->bytes, blocks_.bytes);
  // The devices have 32 MB for these two, and some for the slow one; its link needs 840 ms.
  EXPECT_LE(ended_ns[1], 60'000'000);
  EXPECT_LE(ended_ns[2], 60'000'000);
}

// All that copies go through is pinned once, and let go of when the pool goes.
class PinCounter final : public StagerAround {
 public:
  explicit PinCounter(std::shared_ptr<gpu::Stager> inner) : StagerAround(std::move(inner)) {}
  bool Pin(std::span<std::byte> bytes) override {
    pinned += bytes.size();
    return accepts;
  }
  void Unpin(std::span<std::byte> bytes) override { pinned -= bytes.size(); }
  std::uint64_t pinned = 0;
  bool accepts = true;
};

TEST_F(GpuTest, MemoryIsPinnedAndLetGoOf) {
  const auto counter = std::make_shared<PinCounter>(Null(2000));
  Open({Slow("ram", 800), Slow("ssd0", 400)}, {counter});
  const std::uint64_t open = counter->pinned;
  EXPECT_GE(open, 256 * kMiB + 32 * kMiB) << "the memory device, and staging";
  auto memory = pool_->Allocate(6 * kMiB, -1, false).value();
  EXPECT_EQ(counter->pinned, open + 6 * kMiB);
  memory.reset();
  EXPECT_EQ(counter->pinned, open);
  channel_.reset();
  pool_.reset();
  EXPECT_EQ(counter->pinned, 0u);
}

TEST_F(GpuTest, IsShown) {
  OpenPooled();
  ASSERT_EQ(pool_->info().gpus.size(), 1u);
  EXPECT_EQ(pool_->info().gpus[0].name, "toy");
  EXPECT_EQ(pool_->info().gpus[0].kind, "null");
  EXPECT_EQ(pool_->info().gpus[0].failure, "");
}

// Drives that fill the link alone leave the memory out.
TEST_F(GpuTest, PlacementSparesMemoryThatTheLinkHasNoRoomFor) {
  Open({Slow("ram", 800), Slow("ssd0", 400), Slow("ssd1", 200)}, {Null(600)});
  EXPECT_NEAR(pool_->info().devices[0].share, 0, 1e-9);
  channel_.reset();
  pool_.reset();
  Open({Slow("ram", 800), Slow("ssd0", 400), Slow("ssd1", 200)}, {Null(1000)});
  EXPECT_NEAR(pool_->info().devices[0].share, 0.4, 1e-9);
}

}  // namespace
}  // namespace kvpool::pool
