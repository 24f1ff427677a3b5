#include "mem/buffer_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace kvpool::mem {
namespace {

TEST(BufferPool, HandsOutEveryBufferOnceAndThenNone) {
  std::vector<std::byte> memory(10 * 64 + 63);
  BufferPool pool(memory, 64);
  ASSERT_EQ(pool.size(), 10u);
  std::set<std::byte*> seen;
  for (int i = 0; i < 10; ++i) {
    std::byte* buffer = pool.Get();
    ASSERT_NE(buffer, nullptr);
    EXPECT_EQ((buffer - memory.data()) % 64, 0);
    EXPECT_LE(buffer + 64, memory.data() + memory.size());
    EXPECT_TRUE(seen.insert(buffer).second);
  }
  EXPECT_EQ(pool.Get(), nullptr);
  EXPECT_EQ(pool.available(), 0u);
}

TEST(BufferPool, GivesBackTheWarmestBufferFirst) {
  std::vector<std::byte> memory(4 * 64);
  BufferPool pool(memory, 64);
  std::byte* a = pool.Get();
  std::byte* b = pool.Get();
  pool.Put(a);
  pool.Put(b);
  EXPECT_EQ(pool.Get(), b);
  EXPECT_EQ(pool.Get(), a);
}

TEST(BufferPool, BuffersOfMemoryThatIsAddedAreHandedOutAndTakenBackToo) {
  std::vector<std::byte> memory(2 * 64);
  std::vector<std::byte> more(3 * 64);
  BufferPool pool(memory, 64);
  std::byte* first = pool.Get();
  pool.Get();
  ASSERT_EQ(pool.Get(), nullptr);
  pool.Add(more);
  EXPECT_EQ(pool.size(), 5u);
  std::byte* added = pool.Get();
  EXPECT_GE(added, more.data());
  EXPECT_LT(added, more.data() + more.size());
  pool.Put(first);
  pool.Put(added);
  EXPECT_EQ(pool.available(), 4u);
}

TEST(BufferPoolDeathTest, RefusesWhatIsNotOut) {
  std::vector<std::byte> memory(4 * 64);
  BufferPool pool(memory, 64);
  std::byte* a = pool.Get();
  pool.Put(a);
  EXPECT_DEATH(pool.Put(a), "broken invariant");
  EXPECT_DEATH(pool.Put(memory.data() + 1), "broken invariant");
  EXPECT_DEATH(pool.Put(memory.data() + memory.size()), "broken invariant");
}

}  // namespace
}  // namespace kvpool::mem
