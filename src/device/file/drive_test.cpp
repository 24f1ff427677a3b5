#include "device/file/drive.h"

#include <cerrno>

#include "device/test_support.h"

namespace kvpool::device {
namespace {

TEST(Rest, IsWhatIsLeftOfTheSegmentItStoppedIn) {
  Buffer memory(16 * kKiB);
  TestIo io(Op::kRead, 0, {memory.Part(0, 4096), memory.Part(8192, 8192)});
  const auto rest = [&](std::uint32_t progress) {
    io.queue_progress = progress | kCancelBit;
    const iovec part = Rest(io);
    return std::pair(static_cast<std::byte*>(part.iov_base) - memory.data(), part.iov_len);
  };
  EXPECT_EQ(rest(0), std::pair(0l, 4096ul));
  EXPECT_EQ(rest(1024), std::pair(1024l, 3072ul));
  EXPECT_EQ(rest(4096), std::pair(8192l, 8192ul));
  EXPECT_EQ(rest(8192), std::pair(12288l, 4096ul));
}

class AdvanceTest : public ::testing::Test {
 protected:
  Buffer memory_{16 * kKiB};
  TestIo io_{Op::kRead, 0, {memory_.All()}};
};

TEST_F(AdvanceTest, AShortTransferGoesOnWhereItStopped) {
  EXPECT_TRUE(Advance(io_, 8192, 4096));
  EXPECT_EQ(Progress(io_), 8192u);
  EXPECT_FALSE(Advance(io_, 8192, 4096));
  EXPECT_EQ(io_.status, Status::kOk);
}

TEST_F(AdvanceTest, AnOddEndIsDoneOnceMore) {
  EXPECT_TRUE(Advance(io_, 5000, 4096));
  EXPECT_EQ(Progress(io_), 4096u);
}

TEST_F(AdvanceTest, NoWayOnIsAnError) {
  EXPECT_TRUE(Advance(io_, 4096, 4096));
  EXPECT_FALSE(Advance(io_, 0, 4096));
  EXPECT_EQ(io_.status, Status::kIoError);
}

TEST_F(AdvanceTest, LessThanOneStepIsAnErrorToo) {
  EXPECT_FALSE(Advance(io_, 512, 4096));
  EXPECT_EQ(io_.status, Status::kIoError);
}

TEST_F(AdvanceTest, InterruptionsAreTriedAgain) {
  EXPECT_TRUE(Advance(io_, -EINTR, 4096));
  EXPECT_TRUE(Advance(io_, -EAGAIN, 4096));
  EXPECT_EQ(Progress(io_), 0u);
  EXPECT_FALSE(Advance(io_, 16 * 1024, 4096));
  EXPECT_EQ(io_.status, Status::kOk);
}

TEST_F(AdvanceTest, ErrorsEndIt) {
  EXPECT_FALSE(Advance(io_, -EIO, 4096));
  EXPECT_EQ(io_.status, Status::kIoError);
}

TEST_F(AdvanceTest, CancelledMeansNoFurtherStep) {
  io_.queue_progress = kCancelBit;
  EXPECT_FALSE(Advance(io_, -EINTR, 4096));
  EXPECT_EQ(io_.status, Status::kCancelled);
  io_.status = Status::kOk;
  EXPECT_FALSE(Advance(io_, 4096, 4096));
  EXPECT_EQ(io_.status, Status::kCancelled);
  io_.status = Status::kOk;
  io_.queue_progress = 0;
  EXPECT_FALSE(Advance(io_, -ECANCELED, 4096));
  EXPECT_EQ(io_.status, Status::kCancelled);
}

TEST_F(AdvanceTest, ACancelThatCameTooLateChangesNothing) {
  io_.queue_progress = kCancelBit;
  EXPECT_FALSE(Advance(io_, 16 * 1024, 4096));
  EXPECT_EQ(io_.status, Status::kOk);
}

}  // namespace
}  // namespace kvpool::device
