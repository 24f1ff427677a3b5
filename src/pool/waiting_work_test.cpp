#include "pool/waiting_work.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <string>

namespace kvpool::pool {
namespace {

// What waits, by a letter: g gets, p puts, b the background, m a mover's work, M that is urgent.
class WaitingWorkTest : public testing::Test {
 protected:
  struct Work {
    Operation operation;
    DeviceBatch batch;
  };

  Work& Add(char letter, std::uint32_t units, std::uint64_t client = 1) {
    Work& work = work_.emplace_back();
    work.operation.kind = letter == 'p' ? OperationKind::kPut : OperationKind::kGet;
    work.operation.priority = letter == 'b' ? Priority::kBackground : Priority::kForeground;
    work.operation.moves = letter == 'm' || letter == 'M';
    work.operation.urgent.store(letter == 'M');
    work.operation.flow.client = client;
    work.operation.AddLane();
    work.batch.operation = &work.operation;
    work.batch.end = units;
    letters_[&work.operation] = letter;
    waiting_.Add(work.batch);
    return work;
  }
  // Issues an I/O of one unit: whose it is. '-': nothing may be issued.
  char Issue() {
    DeviceBatch* const batch = waiting_.Next();
    if (batch == nullptr) return '-';
    batch->cursor.fetch_add(1);
    in_flight_.push_back(batch->operation);
    waiting_.Issued(4096);
    return letters_[batch->operation];
  }
  // The oldest in flight has ended.
  void End() {
    waiting_.Ended(*in_flight_.front());
    in_flight_.pop_front();
  }
  std::string Issue(int count, bool end) {
    std::string issued;
    for (int i = 0; i < count; ++i) {
      issued += Issue();
      if (end && issued.back() != '-') End();
    }
    return issued;
  }

  WaitingWork waiting_;
  std::deque<Work> work_;
  std::deque<Operation*> in_flight_;
  std::map<const Operation*, char> letters_;
};

TEST_F(WaitingWorkTest, EachKindInItsTurn) {
  for (const char letter : {'m', 'b', 'p', 'g'}) Add(letter, 3);
  EXPECT_EQ(Issue(13, true), "gggpppbbbmmm-");
  EXPECT_TRUE(waiting_.empty());
}

TEST_F(WaitingWorkTest, WhatFillsGapsWaitsForWhatIsInFlight) {
  Add('g', 2);
  Add('b', 6);
  Add('m', 6);
  EXPECT_EQ(Issue(3, false), "gg-");
  End();
  EXPECT_EQ(Issue(), '-') << "the device works on a get";
  End();
  EXPECT_EQ(Issue(6, false), "bbbb--") << "no more at once";
  End();
  EXPECT_EQ(Issue(2, false), "b-");
  Add('g', 1);
  EXPECT_EQ(Issue(), 'g') << "a request waits for nothing but what is in flight";
}

TEST_F(WaitingWorkTest, TheBackgroundGetsATwentieth) {
  Add('g', 1000);
  Add('b', 1000);
  const std::string issued = Issue(200, true);
  EXPECT_EQ(std::count(issued.begin(), issued.end(), 'b'), 10);
  EXPECT_EQ(issued.substr(0, 20), std::string(19, 'g') + "b");
}

TEST_F(WaitingWorkTest, AMoverGetsAFifthWhenItIsUrgent) {
  Add('g', 1000);
  Work& move = Add('m', 1000);
  EXPECT_EQ(Issue(300, true), std::string(300, 'g'));
  move.operation.urgent.store(true);
  EXPECT_EQ(Issue(10, true), "mggggmgggg") << "what it waited for is not made up for";
}

TEST_F(WaitingWorkTest, PutsGetAFifthAfterAThousand) {
  Add('g', 10'000);
  Add('p', 1000);
  EXPECT_EQ(Issue(1004, true), std::string(1004, 'g'));
  EXPECT_EQ(Issue(10, true), "pggggpgggg");
}

TEST_F(WaitingWorkTest, PutsThatGetTheirPartAnywayDoNotPassGets) {
  Add('p', 10'000);
  for (int i = 0; i < 600; ++i) {
    Add('g', 3);
    ASSERT_EQ(Issue(4, true), "gggp") << i;
  }
}

TEST_F(WaitingWorkTest, AllFloorsTogetherLeaveMostToGets) {
  Add('g', 100'000);
  for (const char letter : {'p', 'b', 'M'}) Add(letter, 100'000);
  Issue(2000, true);  // the puts' patience
  const std::string issued = Issue(10'000, true);
  std::map<char, double> share;
  for (const char letter : issued) share[letter] += 1.0 / 10'000;
  EXPECT_NEAR(share['M'], 0.2, 0.001) << "of all before it";
  EXPECT_NEAR(share['b'], 0.8 / 20, 0.001) << "of gets and puts";
  EXPECT_NEAR(share['p'], 0.76 / 5, 0.001) << "of gets";
  EXPECT_NEAR(share['g'], 0.608, 0.001);
}

TEST_F(WaitingWorkTest, AClientThatIsHeldBackLetsOthersPassAndKeepsItsOrder) {
  const DeviceBatch& first = Add('g', 2).batch;
  for (int i = 0; i < 100; ++i) Add('g', 1);
  const DeviceBatch& other = Add('g', 1, 2).batch;
  Add('p', 2);
  ASSERT_EQ(waiting_.Next(), &first);
  waiting_.HoldBack();
  EXPECT_EQ(waiting_.Next(), &other);
  EXPECT_EQ(Issue(4, true), "gpp-");
  EXPECT_FALSE(waiting_.empty());
  Add('g', 1);  // which comes meanwhile, and goes behind
  waiting_.Resume();
  EXPECT_EQ(waiting_.Next(), &first);
  EXPECT_EQ(Issue(104, true), std::string(103, 'g') + '-');
  EXPECT_TRUE(waiting_.empty());
}

TEST_F(WaitingWorkTest, WhatIsHeldBackExpires) {
  Work& work = Add('g', 1);
  ASSERT_NE(waiting_.Next(), nullptr);
  waiting_.HoldBack();
  waiting_.ForEach([](DeviceBatch& batch) { batch.cursor.store(batch.end); });
  EXPECT_TRUE(work.operation.Reusable());
  EXPECT_TRUE(waiting_.empty());
}

TEST_F(WaitingWorkTest, WhatAnotherLaneFinishedIsLetGo) {
  Work& first = Add('g', 5, 1);
  Work& second = Add('g', 5, 2);
  second.batch.cursor.store(5);
  EXPECT_EQ(Issue(5, true), "ggggg");
  EXPECT_EQ(waiting_.Next(), nullptr);
  EXPECT_TRUE(waiting_.empty());
  EXPECT_TRUE(first.operation.Reusable());
  EXPECT_TRUE(second.operation.Reusable());
}

TEST_F(WaitingWorkTest, WhatExpiresIsLetGoWhereverItWaits) {
  for (const char letter : {'g', 'p', 'b', 'm'}) {
    for (int i = 0; i < 3; ++i) Add(letter, 5);
  }
  int seen = 0;
  waiting_.ForEach([&](DeviceBatch& batch) {
    if (++seen % 3 == 2) batch.cursor.store(batch.end);
  });
  EXPECT_EQ(seen, 12);
  for (std::size_t i = 0; i < work_.size(); ++i) {
    EXPECT_EQ(work_[i].operation.Reusable(), i % 3 == 1) << i;
  }
  EXPECT_EQ(Issue(10, true), std::string(10, 'g'));
}

}  // namespace
}  // namespace kvpool::pool
