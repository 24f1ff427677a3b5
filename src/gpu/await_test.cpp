#include "gpu/await.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/fake_cuda.h"

namespace kvpool::gpu {
namespace {

// It may have been loaded by the tests of the stager, and is never unloaded then.
class AwaitTest : public ::testing::Test {
 protected:
  void Load() {
    void* const library = dlopen(KVPOOL_FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(library, nullptr) << dlerror();
    reinterpret_cast<void (*)()>(dlsym(library, "fake_cuda_reset"))();
    fake_ = reinterpret_cast<FakeCuda* (*)()>(dlsym(library, "fake_cuda"))();
    free_ = reinterpret_cast<void (*)(void*)>(dlsym(library, "fake_cuda_free"));
    gpu_ = static_cast<std::byte*>(
        reinterpret_cast<void* (*)(std::size_t)>(dlsym(library, "fake_cuda_allocate"))(4096));
  }
  ~AwaitTest() override {
    if (gpu_ != nullptr) free_(gpu_);
  }
  FakeCuda* fake_ = nullptr;
  std::byte* gpu_ = nullptr;
  void (*free_)(void*) = nullptr;
};

TEST_F(AwaitTest, WhoHasNoDriverLoadedDoesNotWait) {
  EXPECT_TRUE(AwaitStream(nullptr, kDefaultStream, "libcuda-of-nobody.so.1"));
}

TEST_F(AwaitTest, TheDefaultStreamIsWaitedForInItsContext) {
  Load();
  EXPECT_TRUE(AwaitStream(gpu_ + 17, kDefaultStream, KVPOOL_FAKE_CUDA));
  EXPECT_EQ(fake_->synchronized, 1);
  EXPECT_EQ(fake_->broken, nullptr) << fake_->broken;
  EXPECT_EQ(fake_->retained, 0);
}

TEST_F(AwaitTest, HostMemoryAndAGpuThatIsLostAreSaid) {
  Load();
  const std::byte here{};
  const auto host = AwaitStream(&here, kDefaultStream, KVPOOL_FAKE_CUDA);
  ASSERT_FALSE(host);
  EXPECT_EQ(host.error().status, Status::kInvalid);
  fake_->lost = 1;
  const auto lost = AwaitStream(gpu_, kDefaultStream, KVPOOL_FAKE_CUDA);
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().status, Status::kIoError);
  EXPECT_THAT(lost.error().message, ::testing::HasSubstr("cuStreamSynchronize"));
  fake_->lost = 0;
  EXPECT_EQ(fake_->retained, 0);
}

}  // namespace
}  // namespace kvpool::gpu
