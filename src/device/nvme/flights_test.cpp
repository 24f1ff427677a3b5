#include "device/nvme/flights.h"

#include <cerrno>
#include <map>

#include "device/test_support.h"

namespace kvpool::device {
namespace {

constexpr NvmeLimits kLimits{.max_bytes = 256 * kKiB, .always_bytes = 64 * kKiB};
constexpr std::int32_t kAborted = 0x371;
constexpr std::int32_t kUnrecoveredRead = 0x281;

class FlightsTest : public ::testing::Test {
 protected:
  // Issues all that can be; place -> bytes.
  std::map<std::uint16_t, std::uint32_t> Issue(std::int64_t now_ns = 0) {
    std::map<std::uint16_t, std::uint32_t> issued;
    for (std::uint16_t place = 0; flights_.Next(now_ns, place);) {
      issued[place] = flights_.at(place).bytes;
    }
    return issued;
  }
  std::vector<Io*> Done() {
    std::vector<Io*> done(NvmeFlights::kIos);
    done.resize(flights_.TakeDone(done));
    return done;
  }
  TestIo Whole(std::uint32_t bytes) { return {Op::kRead, 0, {memory_.Part(0, bytes)}}; }

  Buffer memory_{4 * kMiB};
  NvmeFlights flights_{kLimits};
};

TEST_F(FlightsTest, AnIoIsDoneWhenAllItsCommandsAre) {
  TestIo io = Whole(kMiB);
  flights_.Add(io);
  const auto issued = Issue();
  ASSERT_EQ(issued.size(), 4u);
  std::size_t left = issued.size();
  for (const auto& [place, bytes] : issued) {
    EXPECT_EQ(bytes, 256 * kKiB);
    EXPECT_TRUE(Done().empty());
    flights_.Answered(place, 0, 0);
    --left;
  }
  EXPECT_EQ(Done(), std::vector<Io*>{&io});
  EXPECT_EQ(io.status, Status::kOk);
  EXPECT_EQ(flights_.held(), 0u);
}

TEST_F(FlightsTest, AFlushIsOneCommandWithoutBytes) {
  TestIo flush(Op::kFlush, 0, {});
  flights_.Add(flush);
  const auto issued = Issue();
  ASSERT_EQ(issued.size(), 1u);
  EXPECT_EQ(issued.begin()->second, 0u);
  flights_.Answered(issued.begin()->first, 0, 0);
  EXPECT_EQ(Done(), std::vector<Io*>{&flush});
}

TEST_F(FlightsTest, WhatTheKernelCannotMapIsAskedForInSmallerParts) {
  TestIo io = Whole(256 * kKiB);
  flights_.Add(io);
  const std::uint16_t place = Issue().begin()->first;
  flights_.Answered(place, -EINVAL, 0);
  for (std::uint32_t at = 0; at < io.bytes; at += 64 * kKiB) {
    const auto again = Issue();
    ASSERT_EQ(again.size(), 1u);
    EXPECT_EQ(again.at(place), 64 * kKiB);
    EXPECT_EQ(flights_.at(place).begin, at);
    flights_.Answered(place, 0, 0);
  }
  EXPECT_EQ(Done(), std::vector<Io*>{&io});
  EXPECT_EQ(io.status, Status::kOk);
  // And it is remembered.
  flights_.Add(io);
  EXPECT_EQ(Issue().size(), 4u);
}

TEST_F(FlightsTest, WhatIsSmallEnoughAndRefusedAllTheSameIsAnError) {
  TestIo io = Whole(64 * kKiB);
  flights_.Add(io);
  flights_.Answered(Issue().begin()->first, -EINVAL, 0);
  EXPECT_EQ(Done(), std::vector<Io*>{&io});
  EXPECT_EQ(io.status, Status::kIoError);
}

TEST_F(FlightsTest, ARefusedRegisteredBufferIsGivenUpFirst) {
  TestIo io = Whole(64 * kKiB);
  flights_.Add(io);
  const std::uint16_t place = Issue().begin()->first;
  EXPECT_TRUE(flights_.fixed_works());
  flights_.at(place).fixed = true;
  flights_.Answered(place, -EINVAL, 0);
  EXPECT_FALSE(flights_.fixed_works());
  EXPECT_EQ(Issue().at(place), 64 * kKiB);
  EXPECT_FALSE(flights_.at(place).fixed);
}

TEST_F(FlightsTest, WhatWasLostOnTheWayIsTriedAgainAfterAPause) {
  TestIo io = Whole(4096);
  flights_.Add(io);
  const std::uint16_t place = Issue().begin()->first;
  EXPECT_EQ(flights_.NextNs(), Queue::kNever);
  flights_.Answered(place, kAborted, 1000);
  const std::int64_t due_ns = 1000 + NvmeFlights::kPauseNs;
  EXPECT_EQ(flights_.NextNs(), due_ns);
  EXPECT_TRUE(Issue(due_ns - 1).empty());
  EXPECT_EQ(Issue(due_ns).size(), 1u);
  EXPECT_EQ(flights_.NextNs(), Queue::kNever);
  flights_.Answered(place, 0, due_ns);
  EXPECT_EQ(io.status, Status::kOk);
  EXPECT_EQ(Done().size(), 1u);
}

TEST_F(FlightsTest, ItIsNotTriedForEver) {
  TestIo io = Whole(4096);
  flights_.Add(io);
  int tries = 0;
  for (std::int64_t now_ns = 0; Done().empty(); now_ns += NvmeFlights::kPauseNs) {
    const auto issued = Issue(now_ns);
    ASSERT_EQ(issued.size(), 1u);
    flights_.Answered(issued.begin()->first, kAborted, now_ns);
    ++tries;
  }
  EXPECT_EQ(tries, NvmeFlights::kMaxTries);
  EXPECT_EQ(io.status, Status::kIoError);
}

TEST_F(FlightsTest, AfterAnErrorNoMoreCommandsAreMade) {
  TestIo large(Op::kRead, 0, {});
  std::vector<std::unique_ptr<TestIo>> fill;  // takes all commands but two
  for (unsigned i = 0; i < NvmeFlights::kIos - 1 && i < 63; ++i) {
    fill.push_back(std::make_unique<TestIo>(Op::kRead, 0, std::vector{memory_.Part(0, kMiB)}));
    flights_.Add(*fill.back());
  }
  const auto filling = Issue();
  ASSERT_EQ(filling.size(), 252u);
  TestIo io(Op::kRead, 0, {memory_.Part(0, 2 * kMiB)});
  flights_.Add(io);
  const auto first = Issue();
  ASSERT_EQ(first.size(), 4u);
  for (const auto& [place, bytes] : first) {
    EXPECT_TRUE(Done().empty());
    flights_.Answered(place, kUnrecoveredRead, 0);
  }
  EXPECT_EQ(Done(), std::vector<Io*>{&io});
  EXPECT_EQ(io.status, Status::kIoError);
  EXPECT_TRUE(Issue().empty());
}

TEST_F(FlightsTest, AFullDriveGoesOnWhenCommandsEnd) {
  std::vector<std::unique_ptr<TestIo>> ios;
  for (unsigned i = 0; i < NvmeFlights::kIos; ++i) {
    ios.push_back(std::make_unique<TestIo>(Op::kRead, 0, std::vector{memory_.Part(0, kMiB)}));
    flights_.Add(*ios.back());
  }
  std::size_t done = 0;
  std::size_t rounds = 0;
  while (done < ios.size() && ++rounds < 10) {
    const auto issued = Issue();
    EXPECT_EQ(issued.size(), NvmeFlights::kCommands);
    for (const auto& [place, bytes] : issued) flights_.Answered(place, 0, 0);
    done += Done().size();
  }
  EXPECT_EQ(done, ios.size());
  EXPECT_EQ(rounds, 2u);
}

TEST_F(FlightsTest, CancelEndsWhatTheDriveDoesNotHave) {
  TestIo waiting = Whole(4096);
  flights_.Add(waiting);
  const std::uint16_t place = Issue().begin()->first;
  flights_.Answered(place, kAborted, 0);
  EXPECT_TRUE(flights_.Cancel(waiting));
  EXPECT_FALSE(flights_.Cancel(waiting));
  EXPECT_EQ(waiting.status, Status::kCancelled);
  EXPECT_EQ(Done(), std::vector<Io*>{&waiting});
  EXPECT_EQ(flights_.NextNs(), Queue::kNever);

  TestIo unmade = Whole(4096);
  flights_.Add(unmade);
  EXPECT_TRUE(flights_.Cancel(unmade));
  EXPECT_EQ(unmade.status, Status::kCancelled);
  EXPECT_TRUE(Issue().empty());
  EXPECT_EQ(Done().size(), 1u);
}

TEST_F(FlightsTest, CancelWaitsForWhatTheDriveHas) {
  TestIo io = Whole(256 * kKiB);
  flights_.Add(io);
  const std::uint16_t place = Issue().begin()->first;
  EXPECT_FALSE(flights_.Cancel(io));
  EXPECT_TRUE(Done().empty());
  flights_.Answered(place, -EINVAL, 0);  // would have gone on in parts
  EXPECT_EQ(io.status, Status::kCancelled);
  EXPECT_EQ(Done(), std::vector<Io*>{&io});

  flights_.Add(io);
  io.status = Status::kOk;
  const auto issued = Issue();
  EXPECT_FALSE(flights_.Cancel(io));
  for (const auto& [again, bytes] : issued) flights_.Answered(again, 0, 0);
  EXPECT_EQ(io.status, Status::kOk);  // all of it had arrived
  EXPECT_EQ(Done().size(), 1u);
}

TEST_F(FlightsTest, PagesAreHeldWhereEveryCommandUnderWayIsInFixedBuffers) {
  TestIo io = Whole(512 * kKiB);
  flights_.Add(io);
  const auto issued = Issue();
  ASSERT_EQ(issued.size(), 2u);
  const std::uint16_t first = issued.begin()->first;
  const std::uint16_t second = issued.rbegin()->first;
  flights_.Cancel(io);
  EXPECT_FALSE(flights_.InFixedBuffers(io));
  flights_.at(first).fixed = true;
  EXPECT_FALSE(flights_.InFixedBuffers(io));
  flights_.Answered(second, 0, 0);
  EXPECT_TRUE(flights_.InFixedBuffers(io));
  flights_.Answered(first, 0, 0);
  EXPECT_EQ(Done().size(), 1u);
}

TEST_F(FlightsTest, WhatIsDoneIsNotCancelled) {
  TestIo io = Whole(4096);
  io.status = Status::kInvalid;
  flights_.AddDone(io);
  EXPECT_FALSE(flights_.Cancel(io));
  EXPECT_EQ(io.status, Status::kInvalid);
  EXPECT_EQ(Done(), std::vector<Io*>{&io});
  EXPECT_EQ(flights_.held(), 0u);
}

}  // namespace
}  // namespace kvpool::device
