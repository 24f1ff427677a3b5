// What the index takes from the heap, counted by operators new and delete of our own.
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <string>

#include "index/index.h"

namespace {

std::atomic<std::size_t> heap_bytes = 0;

// glibc keeps 8 bytes of its own beside each allocation.
std::size_t CostOf(void* memory) { return malloc_usable_size(memory) + 8; }

void* Allocate(std::size_t bytes, std::size_t alignment) {
  void* memory = alignment == 0 ? std::malloc(bytes)
                                : std::aligned_alloc(
                                      alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  heap_bytes += CostOf(memory);
  return memory;
}

void Free(void* memory) {
  if (memory == nullptr) return;
  heap_bytes -= CostOf(memory);
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t bytes) { return Allocate(bytes, 0); }
void* operator new[](std::size_t bytes) { return Allocate(bytes, 0); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return Allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { Free(memory); }
void operator delete(void* memory, std::size_t) noexcept { Free(memory); }
void operator delete[](void* memory) noexcept { Free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { Free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { Free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { Free(memory); }

namespace kvpool::index {
namespace {

constexpr std::size_t kKeyBytes = 37;
constexpr std::uint32_t kUnits = 3;
constexpr layout::BlockShape kShape{
    .block_bytes = 3 * 32768, .units = kUnits, .unit_bytes = 32768, .slot_bytes = 32768};

class IndexMemory : public ::testing::TestWithParam<std::string_view> {};

// Sizes 5 % apart over more than an octave, so that every fill of the table is among them.
TEST_P(IndexMemory, StaysUnder200BytesAKeyBesideKeyAndUnits) {
  const std::size_t before = heap_bytes;
  double most = 0;
  {
    Index index(*MakeEvictionPolicy(GetParam()));
    std::size_t keys = 0;
    EntryId parent = kNoEntry;
    for (double limit = 200'000; limit < 450'000; limit *= 1.05) {
      for (; keys < static_cast<std::size_t>(limit); ++keys) {
        char key[kKeyBytes + 1];
        std::snprintf(key, sizeof key, "%0*zu", static_cast<int>(kKeyBytes), keys);
        const bool first = keys % 20 == 0;
        parent = index.Reserve({.space = 1,
                                .key = {key, kKeyBytes},
                                .shape = kShape,
                                .ordinal = keys % 20,
                                .parent = first ? kNoEntry : parent});
        index.Publish(parent);
        index.Unpin(parent);
      }
      most = std::max(most, static_cast<double>(heap_bytes - before) / static_cast<double>(keys));
    }
  }
  EXPECT_EQ(heap_bytes, before);
  EXPECT_LE(most, 200 + kKeyBytes + 16.0 * kUnits);
  EXPECT_GT(most, 64 + kKeyBytes + 16.0 * kUnits) << "the counting works";
}

INSTANTIATE_TEST_SUITE_P(Policies, IndexMemory, ::testing::Values("default", "lru"),
                         [](const auto& test) { return std::string(test.param); });

// Evicting and storing without end takes no more memory than the most blocks that were present.
TEST(IndexMemory, DoesNotGrowWithTurnover) {
  Index index(*MakeEvictionPolicy("default"));
  std::size_t after_fill = 0;
  for (int i = 0; i < 400'000; ++i) {
    const std::string key = "key-" + std::to_string(1'000'000 + i);
    const EntryId entry = index.Reserve({.space = 1, .key = key, .shape = kShape});
    index.Publish(entry);
    index.Unpin(entry);
    if (index.size() <= 20'000) continue;
    const EntryId victim = index.Victim();
    ASSERT_TRUE(index.Doom(victim));
    index.Erase(victim);
    if (i == 100'000) after_fill = heap_bytes;  // the sample is full, too
  }
  EXPECT_LT(heap_bytes, after_fill + after_fill / 20);
}

}  // namespace
}  // namespace kvpool::index
