#include "device/memory/memory_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

#include "base/limits.h"
#include "device/memory/owned_pages.h"
#include "mem/lent_memory.h"
#include "mem/region.h"

namespace kvpool::device {
namespace {

constexpr std::uint64_t kCapacity = 4 * kSlabBytes;

bool AllAre(std::span<const std::byte> bytes, int value) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [&](auto byte) { return byte == static_cast<std::byte>(value); });
}

class LendingMemory : public testing::Test {
 protected:
  void SetUp() override {
    auto device = OpenMemoryDevice({.name = "ram",
                                    .capacity_bytes = kCapacity,
                                    .lent_memories = std::make_shared<SharedLimit>(8, 1)});
    ASSERT_TRUE(device) << device.error().message;
    device_ = std::move(*device);
    if (device_->Lent(1) == nullptr) GTEST_SKIP() << device_->traits().description;
    queue_ = std::move(*device_->OpenQueue({}));
  }

  Status Move(Op op, std::uint64_t offset, std::span<std::byte> bytes, std::uint32_t owner) {
    const iovec segment{bytes.data(), bytes.size()};
    Io io{.op = op,
          .offset = offset,
          .bytes = static_cast<std::uint32_t>(bytes.size()),
          .owner = owner,
          .segments = {&segment, 1}};
    Io* ios = &io;
    EXPECT_EQ(queue_->Submit({&ios, 1}), 1u);
    EXPECT_EQ(queue_->Poll({&ios, 1}), 1u);
    return io.status;
  }
  void Write(std::uint64_t offset, std::size_t bytes, int value, std::uint32_t owner) {
    std::vector<std::byte> from(bytes, static_cast<std::byte>(value));
    EXPECT_EQ(Move(Op::kWrite, offset, from, owner), Status::kOk);
  }
  std::vector<std::byte> Read(std::uint64_t offset, std::size_t bytes) {
    std::vector<std::byte> to(bytes);
    EXPECT_EQ(Move(Op::kRead, offset, to, 0), Status::kOk);
    return to;
  }
  // As another process has it.
  std::shared_ptr<mem::BorrowedMemory> Borrow(std::uint32_t owner) {
    const Descriptor fd = std::move(*device_->Lent(owner)->ForBorrowers());
    return std::move(*mem::BorrowedMemory::Map(fd, kCapacity));
  }

  std::unique_ptr<Device> device_;
  std::unique_ptr<Queue> queue_;
};

TEST_F(LendingMemory, WhatIsWrittenIsReadBackAndSeenByItsBorrower) {
  Write(kSlabBytes + 4096, 64 * kKiB, 7, 1);
  EXPECT_TRUE(AllAre(Read(kSlabBytes + 4096, 64 * kKiB), 7));
  const auto borrowed = Borrow(1);
  EXPECT_TRUE(AllAre(borrowed->bytes().subspan(kSlabBytes + 4096, 64 * kKiB), 7));
  const std::byte* mapped = device_->Map(kSlabBytes + 4096);
  const auto lent = device_->Lent(1)->bytes();
  EXPECT_EQ(mapped - lent.data(), static_cast<std::ptrdiff_t>(kSlabBytes + 4096));
}

TEST_F(LendingMemory, AnIoAcrossSlabsIsWhole) {
  Write(kSlabBytes - 64 * kKiB, 64 * kKiB, 1, 1);  // the slabs lie apart
  Write(kSlabBytes, 64 * kKiB, 2, 2);
  const auto both = Read(kSlabBytes - 64 * kKiB, 128 * kKiB);
  EXPECT_TRUE(AllAre(std::span(both).first(64 * kKiB), 1));
  EXPECT_TRUE(AllAre(std::span(both).subspan(64 * kKiB), 2));
  Write(2 * kSlabBytes - 64 * kKiB, 128 * kKiB, 3, 2);
  EXPECT_TRUE(AllAre(Read(2 * kSlabBytes - 64 * kKiB, 128 * kKiB), 3));
  EXPECT_TRUE(AllAre(Borrow(2)->bytes().subspan(2 * kSlabBytes - 64 * kKiB, 128 * kKiB), 3));
}

TEST_F(LendingMemory, ASlabThatChangesHandsShowsNobodyWhatItHeld) {
  Write(0, 64 * kKiB, 1, 1);
  const auto first = Borrow(1);
  const auto second = Borrow(2);
  ASSERT_TRUE(AllAre(first->bytes().first(64 * kKiB), 1));  // the control
  Write(64 * kKiB, 64 * kKiB, 2, 2);
  EXPECT_TRUE(AllAre(first->bytes().first(kSlabBytes), 0));
  EXPECT_TRUE(AllAre(second->bytes().first(64 * kKiB), 0));
  EXPECT_TRUE(AllAre(second->bytes().subspan(64 * kKiB, 64 * kKiB), 2));
  EXPECT_TRUE(AllAre(second->bytes().subspan(128 * kKiB, kSlabBytes - 128 * kKiB), 0));
  Write(0, 64 * kKiB, 3, 1);  // and back
  EXPECT_TRUE(AllAre(second->bytes().first(kSlabBytes), 0));
  EXPECT_TRUE(AllAre(first->bytes().subspan(64 * kKiB, kSlabBytes - 64 * kKiB), 0));
}

TEST_F(LendingMemory, WhatBorrowersMadeByReadingIsGivenBack) {
  Write(0, 64 * kKiB, 1, 1);
  const auto borrowed = Borrow(1);
  ASSERT_TRUE(AllAre(borrowed->bytes().subspan(kSlabBytes), 0));
  ASSERT_EQ(device_->Lent(1)->NextFilled(kSlabBytes), kSlabBytes);  // pages came of it
  device_->TrimLent(1);
  EXPECT_EQ(device_->Lent(1)->NextFilled(kSlabBytes), kCapacity);
  EXPECT_TRUE(AllAre(borrowed->bytes().first(64 * kKiB), 1));
}

TEST_F(LendingMemory, WhoGetsAForgottenOwnersNumberIsNotSeenByItsBorrowers) {
  Write(0, 64 * kKiB, 1, 1);
  const auto former = Borrow(1);
  ASSERT_TRUE(AllAre(former->bytes().first(64 * kKiB), 1));
  device_->ForgetOwner(1);
  EXPECT_TRUE(AllAre(former->bytes().first(kSlabBytes), 0));
  Write(64 * kKiB, 64 * kKiB, 2, 1);
  EXPECT_TRUE(AllAre(former->bytes().first(kSlabBytes), 0));
  const auto later = Borrow(1);
  EXPECT_TRUE(AllAre(later->bytes().first(64 * kKiB), 0));
  EXPECT_TRUE(AllAre(later->bytes().subspan(64 * kKiB, 64 * kKiB), 2));
}

TEST_F(LendingMemory, LanesThatTakeTheSameSlabsAtOnceLoseNothing) {
  for (int round = 1; round <= 20; ++round) {
    std::vector<std::thread> lanes;
    for (std::uint64_t lane = 0; lane < 4; ++lane) {
      lanes.emplace_back([&, lane] {
        const auto queue = std::move(*device_->OpenQueue({}));
        std::vector<std::byte> from(64 * kKiB, static_cast<std::byte>(round));
        const iovec segment{from.data(), from.size()};
        for (std::uint64_t slab = 0; slab < 4; ++slab) {
          Io io{.op = Op::kWrite,
                .offset = slab * kSlabBytes + lane * from.size(),
                .bytes = static_cast<std::uint32_t>(from.size()),
                .owner = static_cast<std::uint32_t>(1 + round % 2),
                .segments = {&segment, 1}};
          Io* ios = &io;
          ASSERT_EQ(queue->Submit({&ios, 1}), 1u);
          ASSERT_EQ(queue->Poll({&ios, 1}), 1u);
          ASSERT_EQ(io.status, Status::kOk);
        }
      });
    }
    for (auto& lane : lanes) lane.join();
    for (std::uint64_t slab = 0; slab < 4; ++slab) {
      EXPECT_TRUE(AllAre(Read(slab * kSlabBytes, 256 * kKiB), round));
    }
  }
}

TEST(OwnedPagesTest, AForgottenOwnerMakesRoomForAnother) {
  const auto region = std::move(*mem::Region::Make({.bytes = 2 * kSlabBytes, .shareable = false}));
  if (region->page_kind() == mem::PageKind::kHuge) GTEST_SKIP() << "on reserved hugepages";
  OwnedPages pages(region->bytes(), {.most_owners = 1});
  ASSERT_TRUE(pages.Own(0, 4096, 1));
  ASSERT_EQ(pages.Of(2), nullptr);
  pages.Forget(2);  // never had anything
  pages.Forget(1);
  EXPECT_EQ(pages.At(0), region->bytes().data());
  ASSERT_TRUE(pages.Own(0, 4096, 2));
  EXPECT_NE(pages.Of(2), nullptr);
}

TEST(OwnedPagesTest, AnOwnerHasNoMemoryThatIsKeptForThoseOfAnotherParty) {
  const auto region = std::move(*mem::Region::Make({.bytes = 2 * kSlabBytes, .shareable = false}));
  if (region->page_kind() == mem::PageKind::kHuge) GTEST_SKIP() << "on reserved hugepages";
  const auto limit = std::make_shared<SharedLimit>(4, 2);  // one for each, two for who comes first
  OwnedPages pages(region->bytes(), {.most_owners = 100, .lent_memories = limit});
  OwnedPages others(region->bytes(), {.most_owners = 100, .lent_memories = limit});
  EXPECT_NE(pages.Of(1), nullptr);
  EXPECT_NE(pages.Of(2), nullptr);
  EXPECT_NE(others.Of(1), nullptr);
  EXPECT_EQ(others.Of(2), nullptr) << "all devices have one limit";
  EXPECT_EQ(pages.Of(3), nullptr);
  const std::uint32_t of_another = (1u << kOwnerBits) + 1;
  EXPECT_NE(pages.Of(of_another), nullptr);
  EXPECT_EQ(pages.Of(of_another + 1), nullptr);
  pages.Forget(2);
  EXPECT_NE(pages.Of(of_another + 1), nullptr);
}

TEST(OwnedPagesTest, WhoeverIsOneTooManyHasItsBytesWhereNobodyLooks) {
  const auto region = std::move(*mem::Region::Make({.bytes = 2 * kSlabBytes, .shareable = false}));
  if (region->page_kind() == mem::PageKind::kHuge) GTEST_SKIP() << "on reserved hugepages";
  OwnedPages pages(region->bytes(), {.most_owners = 1});
  ASSERT_TRUE(pages.Own(0, 4096, 1));
  ASSERT_NE(pages.Of(1), nullptr);
  EXPECT_EQ(pages.Of(2), nullptr);
  *pages.At(0) = std::byte{1};
  const auto lent = pages.Of(1)->bytes();
  EXPECT_EQ(lent[0], std::byte{1});
  ASSERT_TRUE(pages.Own(0, 4096, 2));
  EXPECT_EQ(*pages.At(0), std::byte{0});
  *pages.At(0) = std::byte{2};
  EXPECT_EQ(lent[0], std::byte{0});
  EXPECT_EQ(pages.At(0), region->bytes().data());
  ASSERT_TRUE(pages.Own(0, 4096, 3));  // from one that has none to another: nobody can map either
  ASSERT_TRUE(pages.Own(0, 4096, 1));
  EXPECT_EQ(lent[0], std::byte{0});
}

}  // namespace
}  // namespace kvpool::device
