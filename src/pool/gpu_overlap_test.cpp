// An engine that uses layer l while layer l + 1 arrives: the time until the last layer's use is
// that of the slower of the two, transfer or compute, and little more.
#include <algorithm>

#include "pool/gpu_test_pool.h"

namespace kvpool::pool {
namespace {

constexpr std::size_t kBlock = 2 * kMiB;
constexpr std::size_t kBlocks = 64;
constexpr std::uint32_t kLayers = 32;

class GpuOverlapTest : public GpuPoolTest {
 protected:
  GpuOverlapTest() { layers_ = kLayers; }

  // The engine uses each layer for a kLayers-th of `compute_ns`, the next one after it, and none
  // before LayersReady says so. Returns when it has used the last one.
  std::int64_t TimeToLastUse(std::int64_t compute_ns) {
    Room room(blocks_);
    const auto into = OnGpu(room.segments);
    GetRequest get;
    get.space = space_;
    get.keys = blocks_.keys;
    get.into = into;
    const std::int64_t begin_ns = clock_.NowNs();
    EXPECT_EQ(channel_->Submit(get), Status::kOk);
    std::int64_t used_until_ns = begin_ns;
    std::uint32_t used = 0;
    Request* done = nullptr;
    bool ended = false;
    RunUntil([&] {
      ended = ended || channel_->Poll({&done, 1}) == 1;
      // A pool that knows of one layer is ready with all at once.
      const std::uint32_t ready = get.LayersReady() * kLayers / layers_;
      for (; used < ready; ++used) {
        used_until_ns = std::max(used_until_ns, clock_.NowNs()) + compute_ns / kLayers;
      }
      return ended;
    });
    EXPECT_EQ(used, kLayers);
    EXPECT_EQ(room.bytes, blocks_.bytes);
    RunUntil([&] { return pool_->Idle(); });
    return used_until_ns - begin_ns;
  }
  static std::int64_t TransferNs(double megabytes_per_s) {
    return static_cast<std::int64_t>(kBlocks * kBlock * 1e3 / megabytes_per_s);
  }
  // Over the larger of the two, at the speed of the narrowest place.
  double Overlap(double megabytes_per_s, double compute_per_transfer) {
    const std::int64_t transfer_ns = TransferNs(megabytes_per_s);
    const auto compute_ns =
        static_cast<std::int64_t>(static_cast<double>(transfer_ns) * compute_per_transfer);
    return static_cast<double>(TimeToLastUse(compute_ns)) /
           static_cast<double>(std::max(transfer_ns, compute_ns));
  }

  Blocks blocks_{"context", kBlocks, kBlock};
};

TEST_F(GpuOverlapTest, WhereTheDevicesAreTheNarrowestPlace) {
  Open({Slow("ram", 800), Slow("ssd0", 400), Slow("ssd1", 200)}, {Null(4000)});
  ASSERT_EQ(PutAll(blocks_, blocks_.segments), All(kBlocks, Status::kOk));
  for (const double compute : {0.2, 1.0, 3.0}) EXPECT_LE(Overlap(1400, compute), 1.1) << compute;
}

TEST_F(GpuOverlapTest, WhereTheLinkIs) {
  Open({Slow("ram", 800), Slow("ssd0", 400), Slow("ssd1", 200)}, {Null(700)});
  ASSERT_EQ(PutAll(blocks_, blocks_.segments), All(kBlocks, Status::kOk));
  for (const double compute : {0.2, 1.0, 3.0}) EXPECT_LE(Overlap(700, compute), 1.1) << compute;
}

// Drives that could fill it twice: the faster one's part must not come later than the slower one's.
TEST_F(GpuOverlapTest, WhereTheLinkIsNarrowerThanTheDrives) {
  unit_bytes_ = 256 * kKiB;  // one I/O on either drive, one layer of a block
  blocks_ = Blocks("context", kBlocks / 4, kBlock * 4);
  Open({Slow("ram", 5000), Slow("ssd0", 400), Slow("ssd1", 200)}, {Null(300)});
  ASSERT_EQ(PutAll(blocks_, blocks_.segments), All(kBlocks / 4, Status::kOk));
  for (const double compute : {0.2, 1.0, 3.0}) EXPECT_LE(Overlap(300, compute), 1.1) << compute;
}

TEST_F(GpuOverlapTest, FromMemoryAlone) {
  Open({Slow("ram", 4000)}, {Null(1000)});
  ASSERT_EQ(PutAll(blocks_, blocks_.segments), All(kBlocks, Status::kOk));
  EXPECT_LE(Overlap(1000, 1.0), 1.1);
}

TEST_F(GpuOverlapTest, FromDrivesAlone) {
  Open({Slow("ssd0", 500), Slow("ssd1", 500)}, {Null(1000)});
  ASSERT_EQ(PutAll(blocks_, blocks_.segments), All(kBlocks, Status::kOk));
  EXPECT_LE(Overlap(1000, 1.0), 1.1);
}

// The control: told nothing of layers, the pool is ready with the whole context only.
TEST_F(GpuOverlapTest, WithoutLayersNothingOverlaps) {
  layers_ = 1;
  Open({Slow("ram", 800), Slow("ssd0", 400), Slow("ssd1", 200)}, {Null(4000)});
  ASSERT_EQ(PutAll(blocks_, blocks_.segments), All(kBlocks, Status::kOk));
  EXPECT_GT(Overlap(1400, 1.0), 1.9);
}

}  // namespace
}  // namespace kvpool::pool
