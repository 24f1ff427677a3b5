// Memory on a GPU from one process to another. Here one process is both; the toy driver and memfds
// do not mind.
#include "gpu/exporter.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <vector>

#include "gpu/cuda_stager.h"
#include "gpu/fake_cuda.h"
#include "gpu/null_stager.h"
#include "mem/region.h"

namespace kvpool::gpu {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kBytes = 1 << 20;

Handle CopyOf(const Handle& handle) {
  Handle copy;
  copy.bytes = handle.bytes;
  return copy;
}

class CudaExporterTest : public ::testing::Test {
 protected:
  CudaExporterTest() {
    library_ = dlopen(KVPOOL_FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
    Call<void (*)()>("fake_cuda_reset")();
    fake_ = Call<FakeCuda* (*)()>("fake_cuda")();
    gpu_ = static_cast<std::byte*>(Call<void* (*)(std::size_t)>("fake_cuda_allocate")(kBytes));
    stager_ = OpenCudaStager({.name = "gpu0", .library = KVPOOL_FAKE_CUDA}).value();
    exporter_ = OpenExporter("cuda", KVPOOL_FAKE_CUDA).value();
  }
  ~CudaExporterTest() override {
    exporter_.reset();
    stager_.reset();
    EXPECT_EQ(fake_->broken, nullptr) << fake_->broken;
    EXPECT_EQ(fake_->imported + fake_->retained, 0);
    Free(gpu_);
    dlclose(library_);
  }
  template <class Function>
  Function Call(const char* name) {
    return reinterpret_cast<Function>(dlsym(library_, name));
  }
  void Free(void* allocated) { Call<void (*)(void*)>("fake_cuda_free")(allocated); }
  std::byte* Behind(void* allocated) {
    return Call<std::byte* (*)(void*)>("fake_cuda_behind")(allocated);
  }

  void* library_ = nullptr;
  FakeCuda* fake_ = nullptr;
  std::byte* gpu_ = nullptr;
  std::unique_ptr<Stager> stager_;
  std::unique_ptr<Exporter> exporter_;
};

TEST_F(CudaExporterTest, WhatIsImportedIsTheSameMemory) {
  const Allocation around = exporter_->Around(gpu_ + 777);
  EXPECT_TRUE(around.range.Holds(gpu_, kBytes));
  EXPECT_FALSE(around.range.Holds(gpu_, kBytes + 1));
  EXPECT_EQ(around.gpu, stager_->traits().identity);
  EXPECT_EQ(around.gpu, "GPU-a0a0a0a0-a0a0-a0a0-a0a0-a0a0a0a0a000");
  Handle handle = exporter_->Export(around).value();
  EXPECT_FALSE(handle.descriptor);
  const auto imported = stager_->Import(std::move(handle), kBytes).value();
  ASSERT_EQ(imported->bytes().size(), kBytes);
  EXPECT_NE(imported->bytes().data(), gpu_);
  EXPECT_TRUE(
      stager_->RangeAround(imported->bytes().data()).Holds(imported->bytes().data(), kBytes));
  Behind(gpu_)[12345] = std::byte{99};
  EXPECT_EQ(Behind(imported->bytes().data())[12345], std::byte{99});
}

TEST_F(CudaExporterTest, TwiceIsOpenUntilBothAreGone) {
  const Handle handle = exporter_->Export(exporter_->Around(gpu_)).value();
  auto one = stager_->Import(CopyOf(handle), kBytes).value();
  auto two = stager_->Import(CopyOf(handle), kBytes).value();
  one.reset();
  EXPECT_EQ(fake_->imported, 1);
  EXPECT_TRUE(stager_->RangeAround(two->bytes().data()).Holds(two->bytes().data(), kBytes));
}

TEST_F(CudaExporterTest, WhatIsForgedIsRefused) {
  Handle forged;
  forged.bytes.fill(std::byte{7});
  const auto refused = stager_->Import(std::move(forged), kBytes);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, Status::kInvalid);
  EXPECT_THAT(refused.error().message, HasSubstr("cuIpcOpenMemHandle"));
  EXPECT_EQ(stager_->failure(), "") << "it is no fault of the GPU's";
  const auto larger =
      stager_->Import(exporter_->Export(exporter_->Around(gpu_)).value(), kBytes + 1);
  ASSERT_FALSE(larger);
  EXPECT_EQ(larger.error().status, Status::kInvalid);
  EXPECT_EQ(fake_->imported, 0);
}

TEST_F(CudaExporterTest, WhatCannotBeSharedIsSaid) {
  const std::byte here{};
  EXPECT_FALSE(exporter_->Around(&here).range.Holds(&here, 1));
  fake_->private_memory = 1;
  const auto refused = exporter_->Export(exporter_->Around(gpu_));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, Status::kUnsupported);
  EXPECT_THAT(refused.error().message, HasSubstr("expandable_segments"));
}

TEST_F(CudaExporterTest, AnAllocationInTheSamePlaceIsAnother) {
  const std::uint64_t before = exporter_->Around(gpu_).id;
  EXPECT_EQ(exporter_->Around(gpu_ + 1).id, before);
  Free(gpu_);
  auto* again = Call<void* (*)(void*, std::size_t)>("fake_cuda_allocate_again")(gpu_, kBytes);
  ASSERT_EQ(again, gpu_);
  EXPECT_NE(exporter_->Around(gpu_).id, before);
}

TEST(NullExporterTest, WhatIsImportedIsTheSameMemory) {
  const auto exporter = OpenExporter("null").value();
  const auto stager = MakeNullStager({.name = "toy", .pace = {.bytes_per_s = 1e9}});
  const auto region = mem::Region::Make({.bytes = 4 * kBytes}).value();
  std::byte* const data = region->bytes().data();
  const Allocation around = exporter->Around(data + 3 * kBytes);
  EXPECT_EQ(around.range.begin, reinterpret_cast<std::uintptr_t>(data));
  EXPECT_EQ(around.range.end - around.range.begin, region->bytes().size());
  EXPECT_EQ(around.gpu, stager->traits().identity);
  Handle handle = exporter->Export(around).value();
  EXPECT_TRUE(handle.descriptor);
  const auto imported = stager->Import(std::move(handle), region->bytes().size()).value();
  data[12345] = std::byte{99};
  EXPECT_EQ(imported->bytes()[12345], std::byte{99});
}

TEST(NullExporterTest, OtherMemoryIsNone) {
  const auto exporter = OpenExporter("null").value();
  const std::vector<std::byte> heap(kBytes);
  EXPECT_EQ(exporter->Around(heap.data()).range.end, 0u);
  EXPECT_EQ(exporter->Around(nullptr).range.end, 0u);
  const auto stager = MakeNullStager({.name = "toy", .pace = {.bytes_per_s = 1e9}});
  const auto refused = stager->Import({}, kBytes);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, Status::kInvalid);
}

TEST(NullExporterTest, AMemfdInTheSamePlaceIsAnother) {
  const auto exporter = OpenExporter("null").value();
  auto region = mem::Region::Make({.bytes = 2 * kBytes}).value();
  const auto other = mem::Region::Make({.bytes = 2 * kBytes}).value();
  const Allocation before = exporter->Around(region->bytes().data());
  ASSERT_NE(::mmap(region->bytes().data(), 2 * kBytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_FIXED, other->fd(), 0),
            MAP_FAILED);
  EXPECT_NE(exporter->Around(region->bytes().data()).id, before.id);
  EXPECT_FALSE(exporter->Export(before));
}

TEST(ExporterTest, AKindThatNobodyKnowsIsRefused) {
  const auto refused = OpenExporter("rocm");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, Status::kUnsupported);
}

}  // namespace
}  // namespace kvpool::gpu
