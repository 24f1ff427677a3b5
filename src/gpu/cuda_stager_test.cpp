// The CUDA stager against a toy driver, which checks contexts, streams, events and addresses.
#include "gpu/cuda_stager.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <vector>

#include "gpu/fake_cuda.h"

namespace kvpool::gpu {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::size_t kBytes = 1 << 20;

// The parameter is the library: with batches, or from before these.
class CudaStagerTest : public ::testing::TestWithParam<const char*> {
 protected:
  CudaStagerTest() {
    library_ = dlopen(GetParam(), RTLD_NOW | RTLD_LOCAL);
    EXPECT_NE(library_, nullptr) << dlerror();
    Call<void (*)()>("fake_cuda_reset")();
    fake_ = Call<FakeCuda* (*)()>("fake_cuda")();
    for (std::size_t i = 0; i < host_.size(); ++i) host_[i] = static_cast<std::byte>(i * 7);
    gpu_ = static_cast<std::byte*>(Call<void* (*)(std::size_t)>("fake_cuda_allocate")(kBytes));
    behind_ = Call<std::byte* (*)(void*)>("fake_cuda_behind")(gpu_);
  }
  ~CudaStagerTest() override {
    queue_.reset();
    if (stager_) stager_->Unpin(host_);
    stager_.reset();
    EXPECT_EQ(fake_->broken, nullptr) << fake_->broken;
    EXPECT_EQ(fake_->retained + fake_->streams + fake_->events + fake_->registered, 0);
    Call<void (*)(void*)>("fake_cuda_free")(gpu_);
    dlclose(library_);
  }

  template <class Function>
  Function Call(const char* name) {
    return reinterpret_cast<Function>(dlsym(library_, name));
  }
  Result<std::unique_ptr<Stager>> Open(std::uint32_t ordinal = 0) {
    return OpenCudaStager({.name = "gpu0", .ordinal = ordinal, .library = GetParam()}, clock_);
  }
  void OpenAll() {
    stager_ = Open().value();
    ASSERT_TRUE(stager_->Pin(host_));
    queue_ = stager_->OpenQueue().value();
  }
  // A copy of some runs, the i-th of 1000 bytes from 2000 * i on.
  Copy& Make(Direction direction, std::size_t first, std::size_t count) {
    runs_.emplace_back();
    for (std::size_t i = first; i < first + count; ++i) {
      runs_.back().push_back({host_.data() + 2000 * i, gpu_ + 2000 * i, 1000});
    }
    copies_.emplace_back();
    copies_.back().direction = direction;
    copies_.back().runs = runs_.back();
    return copies_.back();
  }
  void Submit(std::vector<Copy*> copies) { ASSERT_EQ(queue_->Submit(copies), copies.size()); }
  std::vector<Copy*> Poll() {
    std::vector<Copy*> done(8);
    done.resize(queue_->Poll(done));
    return done;
  }

  void* library_ = nullptr;
  FakeCuda* fake_ = nullptr;
  ManualClock clock_;
  std::vector<std::byte> host_ = std::vector<std::byte>(kBytes);
  std::byte* gpu_ = nullptr;
  std::byte* behind_ = nullptr;
  std::deque<std::vector<gpu::Run>> runs_;
  std::deque<Copy> copies_;
  std::unique_ptr<Stager> stager_;
  std::unique_ptr<Queue> queue_;
};

TEST_P(CudaStagerTest, CopiesEndWhenTheirEventHasCome) {
  OpenAll();
  fake_->lag = 2;
  Copy& one = Make(Direction::kToGpu, 0, 3);
  Copy& two = Make(Direction::kToGpu, 3, 1);
  Submit({&one, &two});
  EXPECT_THAT(Poll(), ::testing::IsEmpty());
  EXPECT_EQ(queue_->NextPollNs(), 20'000);
  EXPECT_THAT(Poll(), ::testing::IsEmpty());
  EXPECT_EQ(behind_[0], std::byte{0});
  EXPECT_THAT(Poll(), ::testing::ElementsAre(&one, &two));
  EXPECT_EQ(one.status, Status::kOk);
  EXPECT_EQ(queue_->NextPollNs(), Queue::kNever);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(std::memcmp(behind_ + 2000 * i, host_.data() + 2000 * i, 1000), 0) << i;
  }
  EXPECT_EQ(behind_[1000], std::byte{0});
  EXPECT_EQ(fake_->copies, 4);
  EXPECT_EQ(fake_->unpinned, 0);
  const bool has_batches = std::string(GetParam()) == KVPOOL_FAKE_CUDA;
  EXPECT_EQ(fake_->batches, has_batches ? 1 : 0);
  EXPECT_EQ(stager_->traits().description.find("one by one") == std::string::npos, has_batches);
}

TEST_P(CudaStagerTest, CopiesBothWaysAtOnce) {
  OpenAll();
  behind_[2000] = std::byte{99};
  Copy& up = Make(Direction::kToGpu, 0, 1);
  Copy& down = Make(Direction::kToHost, 1, 1);
  Copy& more = Make(Direction::kToGpu, 2, 1);
  Submit({&up, &down, &more});
  std::size_t ended = 0;
  while (queue_->NextPollNs() != Queue::kNever) ended += Poll().size();
  EXPECT_EQ(ended, 3u);
  EXPECT_EQ(host_[2000], std::byte{99});
  EXPECT_EQ(behind_[1], host_[1]);
}

TEST_P(CudaStagerTest, AFullQueueTakesNoMore) {
  OpenAll();
  fake_->lag = 1 << 20;
  std::size_t taken = 0;
  for (std::size_t i = 0; i < 100; ++i) {
    Copy* const copy = &Make(Direction::kToGpu, i, 1);
    taken += queue_->Submit({&copy, 1});
  }
  EXPECT_LT(taken, 100u);
  fake_->lag = 0;
  std::size_t ended = 0;
  while (queue_->NextPollNs() != Queue::kNever) ended += Poll().size();
  EXPECT_EQ(ended, taken);
}

TEST_P(CudaStagerTest, ARefusedCopyIsAnErrorAndTheNextOneIsNot) {
  OpenAll();
  fake_->fail_copy = 1;
  Copy& refused = Make(Direction::kToGpu, 0, 1);
  Submit({&refused});
  EXPECT_THAT(Poll(), ::testing::ElementsAre(&refused));
  EXPECT_EQ(refused.status, Status::kIoError);
  EXPECT_THAT(stager_->failure(), AllOf(HasSubstr("cuMemcpy"), HasSubstr("out of memory (2)")));
  Copy& next = Make(Direction::kToGpu, 1, 1);
  Submit({&next});
  EXPECT_THAT(Poll(), ::testing::ElementsAre(&next));
  EXPECT_EQ(next.status, Status::kOk);
}

TEST_P(CudaStagerTest, OutsideOfAnAllocationIsAnError) {
  OpenAll();
  Copy& outside = Make(Direction::kToGpu, kBytes / 2000 - 1, 2);
  Submit({&outside});
  while (queue_->NextPollNs() != Queue::kNever) Poll();
  EXPECT_EQ(outside.status, Status::kIoError);
}

TEST_P(CudaStagerTest, ALostGpuEndsEverything) {
  OpenAll();
  Copy& flying = Make(Direction::kToGpu, 0, 1);
  Submit({&flying});
  fake_->lost = 1;
  EXPECT_THAT(Poll(), ::testing::ElementsAre(&flying));
  EXPECT_EQ(flying.status, Status::kIoError);
  Copy& later = Make(Direction::kToHost, 1, 1);
  Submit({&later});
  EXPECT_THAT(Poll(), ::testing::ElementsAre(&later));
  EXPECT_EQ(later.status, Status::kIoError);
}

TEST_P(CudaStagerTest, FindsWhatIsTheGpus) {
  OpenAll();
  const Range range = stager_->RangeAround(gpu_ + 5000);
  EXPECT_TRUE(range.Holds(gpu_, kBytes));
  EXPECT_FALSE(range.Holds(gpu_ + 1, kBytes));
  EXPECT_FALSE(stager_->RangeAround(host_.data()).Holds(host_.data(), 1));
  EXPECT_FALSE(stager_->RangeAround(gpu_ + kBytes).Holds(gpu_ + kBytes, 1));
}

TEST_P(CudaStagerTest, PinsOnceAndLeavesAloneWhatOthersPinned) {
  stager_ = Open().value();
  const auto other = Open().value();
  ASSERT_TRUE(other->Pin(host_));
  EXPECT_TRUE(stager_->Pin(host_));
  EXPECT_EQ(fake_->registered_bytes, host_.size());
  stager_->Unpin(host_);
  EXPECT_EQ(fake_->registered, 1);
  other->Unpin(host_);
  EXPECT_EQ(fake_->registered, 0);
}

TEST_P(CudaStagerTest, KnowsItsNode) {
  const auto root = std::filesystem::path(::testing::TempDir()) / "kvpool-pci";
  std::filesystem::create_directories(root / "0000:a0:00.0");
  std::ofstream(root / "0000:a0:00.0" / "numa_node") << "0\n";
  const auto found =
      OpenCudaStager({.name = "g", .library = GetParam(), .pci_devices = root}, clock_).value();
  EXPECT_EQ(found->traits().numa_node, 0);
  EXPECT_THAT(found->traits().description, HasSubstr("Toy GPU 0, PCI 0000:A0:00.0, node 0"));
  std::ofstream(root / "0000:a0:00.0" / "numa_node") << "-1\n";
  const auto unknown =
      OpenCudaStager({.name = "g", .library = GetParam(), .pci_devices = root}, clock_).value();
  EXPECT_EQ(unknown->traits().numa_node, -1);
  std::filesystem::remove_all(root);
}

TEST_P(CudaStagerTest, SaysWhatIsMissing) {
  const auto absent = OpenCudaStager({.name = "g", .library = "libcuda-absent.so.1"}, clock_);
  EXPECT_EQ(absent.error().status, Status::kUnsupported);
  EXPECT_THAT(absent.error().message, HasSubstr("there is no CUDA driver here"));
  const auto other = OpenCudaStager({.name = "g", .library = "libc.so.6"}, clock_);
  EXPECT_THAT(other.error().message, HasSubstr("libc.so.6 has no cuInit"));
  const auto beyond = Open(3);
  EXPECT_EQ(beyond.error().status, Status::kNotFound);
  EXPECT_THAT(beyond.error().message, HasSubstr("there is no GPU 3: CUDA sees 1 here"));
  fake_->devices = 0;
  const auto none = Open();
  EXPECT_EQ(none.error().status, Status::kUnsupported);
  EXPECT_THAT(none.error().message, HasSubstr("finds no GPU"));
}

TEST_P(CudaStagerTest, ADriverThatGivesNoStreamIsAnError) {
  stager_ = Open().value();
  fake_->fail_streams = 1;
  const auto queue = stager_->OpenQueue();
  ASSERT_FALSE(queue);
  EXPECT_THAT(queue.error().message,
              HasSubstr("cuStreamCreateWithPriority failed: out of memory (2)"));
}

INSTANTIATE_TEST_SUITE_P(Drivers, CudaStagerTest,
                         ::testing::Values(KVPOOL_FAKE_CUDA, KVPOOL_FAKE_CUDA_OLD),
                         [](const auto& one) {
                           return std::string(one.param) == KVPOOL_FAKE_CUDA ? "Batches" : "Old";
                         });

}  // namespace
}  // namespace kvpool::gpu
