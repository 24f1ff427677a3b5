#include "gpu/null_stager.h"

#include <gtest/gtest.h>

#include <deque>
#include <vector>

namespace kvpool::gpu {
namespace {

class NullStagerTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kBytes = 1000;

  Copy Towards(Direction direction, std::size_t begin, std::size_t bytes) {
    runs_.push_back({{host_.data() + begin, gpu_.data() + begin, bytes}});
    Copy copy;
    copy.direction = direction;
    copy.runs = runs_.back();
    return copy;
  }
  Copy* PollOne() {
    Copy* done = nullptr;
    return queue_->Poll({&done, 1}) == 1 ? done : nullptr;
  }

  ManualClock clock_;
  std::unique_ptr<Stager> stager_ =
      MakeNullStager({.name = "toy", .pace = {.bytes_per_s = 1e9, .latency_ns = 50}}, clock_);
  std::unique_ptr<Queue> queue_ = stager_->OpenQueue().value();
  std::vector<std::byte> host_ = std::vector<std::byte>(kBytes, std::byte{1});
  std::vector<std::byte> gpu_ = std::vector<std::byte>(kBytes, std::byte{2});
  std::deque<std::vector<gpu::Run>> runs_;
};

TEST_F(NullStagerTest, BytesMoveWhenTheirTimeHasCome) {
  Copy copy = Towards(Direction::kToGpu, 0, kBytes);
  Copy* const copies[] = {&copy};
  EXPECT_EQ(queue_->NextPollNs(), Queue::kNever);
  ASSERT_EQ(queue_->Submit(copies), 1u);
  EXPECT_EQ(queue_->NextPollNs(), 1050);
  clock_.Advance(1049);
  EXPECT_EQ(PollOne(), nullptr);
  EXPECT_EQ(gpu_[0], std::byte{2});
  clock_.Advance(1);
  EXPECT_EQ(PollOne(), &copy);
  EXPECT_EQ(copy.status, Status::kOk);
  EXPECT_EQ(gpu_, host_);
}

TEST_F(NullStagerTest, QueuesShareEachWayAndTheTwoWaysAreTheirOwn) {
  const auto other = stager_->OpenQueue().value();
  Copy first = Towards(Direction::kToGpu, 0, 500);
  Copy second = Towards(Direction::kToGpu, 500, 500);
  Copy back = Towards(Direction::kToHost, 0, 500);
  Copy* const here[] = {&first, &back};
  Copy* const there[] = {&second};
  ASSERT_EQ(queue_->Submit(here), 2u);
  ASSERT_EQ(other->Submit(there), 1u);
  EXPECT_EQ(queue_->NextPollNs(), 550);
  EXPECT_EQ(other->NextPollNs(), 1050);
  clock_.Advance(1050);
  Copy* done[3];
  EXPECT_EQ(queue_->Poll(done), 2u);
  EXPECT_EQ(other->Poll(done), 1u);
}

TEST_F(NullStagerTest, AFullQueueTakesNoMore) {
  std::deque<Copy> copies;
  std::vector<Copy*> all;
  for (int i = 0; i < 100; ++i) {
    copies.push_back(Towards(Direction::kToGpu, 0, 1));
    all.push_back(&copies.back());
  }
  const std::size_t taken = queue_->Submit(all);
  EXPECT_GT(taken, 0u);
  EXPECT_LT(taken, all.size());
  clock_.Advance(1'000'000);
  std::vector<Copy*> done(100);
  EXPECT_EQ(queue_->Poll(done), taken);
  EXPECT_EQ(queue_->Submit(all), taken);
  clock_.Advance(1'000'000);
  EXPECT_EQ(queue_->Poll(done), taken);
}

TEST_F(NullStagerTest, EveryAddressButNoneIsTheGpus) {
  EXPECT_TRUE(stager_->RangeAround(gpu_.data()).Holds(gpu_.data(), kBytes));
  EXPECT_FALSE(stager_->RangeAround(nullptr).Holds(nullptr, 1));
}

}  // namespace
}  // namespace kvpool::gpu
