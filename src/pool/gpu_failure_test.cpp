// GPUs that fail, hang and are lost, and devices that fail on the way to one.
#include <algorithm>

#include "pool/gpu_test_pool.h"

namespace kvpool::pool {
namespace {

constexpr std::size_t kCount = 16;

struct Trouble {
  bool fails = false;  // copies that come back have failed
  bool hangs = false;  // none comes back
  std::size_t submitted = 0;
  std::size_t held = 0;  // by the GPU
};

class TroubledQueue final : public gpu::Queue {
 public:
  TroubledQueue(std::unique_ptr<gpu::Queue> inner, Trouble& trouble)
      : inner_(std::move(inner)), trouble_(trouble) {}
  std::size_t Submit(std::span<gpu::Copy* const> copies) override {
    const std::size_t taken = inner_->Submit(copies);
    trouble_.submitted += taken;
    trouble_.held += taken;
    return taken;
  }
  std::size_t Poll(std::span<gpu::Copy*> done) override {
    if (trouble_.hangs) return 0;
    const std::size_t count = inner_->Poll(done);
    trouble_.held -= count;
    for (gpu::Copy* copy : done.first(count)) {
      if (trouble_.fails) copy->status = Status::kIoError;
    }
    return count;
  }
  std::int64_t NextPollNs() const override {
    return trouble_.hangs ? kNever : inner_->NextPollNs();
  }

 private:
  const std::unique_ptr<gpu::Queue> inner_;
  Trouble& trouble_;
};

class TroubledStager final : public StagerAround {
 public:
  TroubledStager(std::shared_ptr<gpu::Stager> inner, Trouble& trouble)
      : StagerAround(std::move(inner)), trouble_(trouble) {}
  Result<std::unique_ptr<gpu::Queue>> OpenQueue() override {
    return std::make_unique<TroubledQueue>(StagerAround::OpenQueue().value(), trouble_);
  }
  std::string failure() const override { return trouble_.fails ? "it fell off the bus" : ""; }

 private:
  Trouble& trouble_;
};

class GpuFailureTest : public GpuPoolTest {
 protected:
  void OpenPooled(const std::string& faults = "") {
    DeviceConfig drive = Slow("ssd0", 400);
    drive.faults = faults;
    Open({Slow("ram", 800), drive}, {std::make_shared<TroubledStager>(Null(2000), trouble_)});
    into_ = OnGpu(room_.segments);
  }
  void PutFromHost() { ASSERT_EQ(PutAll(blocks_, blocks_.segments), All(kCount, Status::kOk)); }
  void Aim(GetRequest& get) {
    get.space = space_;
    get.keys = blocks_.keys;
    get.into = into_;
  }
  std::vector<Status> Get() {
    GetRequest get;
    Aim(get);
    Run(get);
    return {get.results().begin(), get.results().end()};
  }
  bool Polled() {
    Request* done = nullptr;
    return channel_->Poll({&done, 1}) == 1;
  }
  template <class AnyRequest>
  void RunFor(AnyRequest& request, std::int64_t ns, bool& ended) {
    const std::int64_t until = clock_.NowNs() + ns;
    RunUntil([&] {
      ended = ended || Polled();
      return clock_.NowNs() >= until;
    });
    (void)request;
  }

  Trouble trouble_;
  const Blocks blocks_{"context", kCount, kMiB};
  Room room_{blocks_};
  std::vector<Segment> into_;
};

TEST_F(GpuFailureTest, AFailedCopyIsAnErrorAndTheBlockStays) {
  OpenPooled();
  PutFromHost();
  trouble_.fails = true;
  EXPECT_EQ(Get(), All(kCount, Status::kIoError));
  EXPECT_EQ(pool_->info().gpus[0].failure, "it fell off the bus");
  EXPECT_EQ(pool_->Match(space_, blocks_.keys), kCount);
  for (const DeviceInfo& device : pool_->info().devices) {
    EXPECT_EQ(device.io_errors + device.checksum_failures, 0u) << "it is not the device's fault";
  }
  trouble_.fails = false;
  EXPECT_EQ(Get(), All(kCount, Status::kOk));
  EXPECT_EQ(room_.bytes, blocks_.bytes);
}

TEST_F(GpuFailureTest, APutWhoseCopyFailsLeavesNothing) {
  OpenPooled();
  trouble_.fails = true;
  std::vector<std::byte> gpu = blocks_.bytes;
  std::vector<Segment> from;
  for (std::size_t i = 0; i < kCount; ++i) from.push_back({gpu.data() + i * kMiB, kMiB});
  EXPECT_EQ(PutAll(blocks_, OnGpu(from)), All(kCount, Status::kIoError));
  EXPECT_EQ(pool_->Match(space_, blocks_.keys), 0u);
  for (const DeviceInfo& device : pool_->info().devices) EXPECT_EQ(device.used_bytes, 0u);
  trouble_.fails = false;
  EXPECT_EQ(PutAll(blocks_, OnGpu(from)), All(kCount, Status::kOk));
  EXPECT_EQ(Get(), All(kCount, Status::kOk));
  EXPECT_EQ(room_.bytes, blocks_.bytes);
}

// Whatever the GPU has been given it may still write to: the caller must not have its memory back,
// nor the pool its own. The rest ends by its deadline.
TEST_F(GpuFailureTest, AGpuThatHangsIsWaitedForAndGetsNoMore) {
  OpenPooled();
  PutFromHost();
  trouble_.hangs = true;
  GetRequest get;
  get.deadline = std::chrono::milliseconds(50);
  Aim(get);
  ASSERT_EQ(channel_->Submit(get), Status::kOk);
  bool ended = false;
  RunFor(get, 60'000'000, ended);
  const std::size_t submitted = trouble_.submitted;
  EXPECT_GT(trouble_.held, 0u);
  RunFor(get, 2'000'000'000, ended);
  EXPECT_FALSE(ended);
  EXPECT_EQ(trouble_.submitted, submitted) << "it was given more after the deadline";
  trouble_.hangs = false;
  RunFor(get, 100'000'000, ended);
  EXPECT_TRUE(ended);
  EXPECT_EQ(trouble_.held, 0u);
  for (const Status status : get.results()) {
    EXPECT_TRUE(status == Status::kOk || status == Status::kTimedOut) << ToString(status);
  }
  EXPECT_GT(std::count(get.results().begin(), get.results().end(), Status::kTimedOut), 0);
  EXPECT_EQ(Get(), All(kCount, Status::kOk));
  EXPECT_EQ(room_.bytes, blocks_.bytes);
}

TEST_F(GpuFailureTest, APutWaitsForItsCopiesToo) {
  OpenPooled();
  trouble_.hangs = true;
  PutRequest put;
  put.space = space_;
  put.keys = blocks_.keys;
  put.from = into_;
  put.deadline = std::chrono::milliseconds(50);
  ASSERT_EQ(channel_->Submit(put), Status::kOk);
  bool ended = false;
  RunFor(put, 2'000'000'000, ended);
  EXPECT_FALSE(ended);
  trouble_.hangs = false;
  RunFor(put, 100'000'000, ended);
  EXPECT_TRUE(ended);
  EXPECT_EQ(std::vector(put.results().begin(), put.results().end()),
            All(kCount, Status::kTimedOut));
}

TEST_F(GpuFailureTest, WhatADriveFailsIsNotFound) {
  OpenPooled("read.error after=2 count=1");
  PutFromHost();
  const auto results = Get();
  const auto lost = std::count(results.begin(), results.end(), Status::kNotFound);
  EXPECT_GE(lost, 1);
  EXPECT_EQ(std::count(results.begin(), results.end(), Status::kOk) + lost,
            static_cast<std::ptrdiff_t>(kCount));
}

// Wrong bytes do not reach the GPU.
TEST_F(GpuFailureTest, WhatDoesNotVerifyIsNotFound) {
  OpenPooled("read.flip after=1 count=1");
  PutFromHost();
  const auto results = Get();
  EXPECT_EQ(std::count(results.begin(), results.end(), Status::kNotFound), 1);
  EXPECT_EQ(pool_->info().devices[1].checksum_failures, 1u);
  std::size_t untouched = 0;
  for (std::size_t i = 0; i < room_.bytes.size(); i += 64 * kKiB) {
    untouched += std::all_of(room_.bytes.begin() + static_cast<std::ptrdiff_t>(i),
                             room_.bytes.begin() + static_cast<std::ptrdiff_t>(i + 64 * kKiB),
                             [](std::byte byte) { return byte == std::byte{0}; });
  }
  EXPECT_EQ(untouched, 1u);
}

TEST_F(GpuFailureTest, ADriveThatHangsEndsByTheDeadline) {
  OpenPooled("read.hang after=2 count=1");
  PutFromHost();
  GetRequest get;
  get.deadline = std::chrono::milliseconds(200);
  Aim(get);
  const std::int64_t begin_ns = clock_.NowNs();
  Run(get);
  EXPECT_LE(clock_.NowNs() - begin_ns, 300'000'000);
  EXPECT_GT(std::count(get.results().begin(), get.results().end(), Status::kTimedOut), 0);
}

}  // namespace
}  // namespace kvpool::pool
