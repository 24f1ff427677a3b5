#include "device/nvme/command.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cerrno>
#include <vector>

#include "base/limits.h"

namespace kvpool::device {
namespace {

std::byte* Address(std::uint64_t at) { return reinterpret_cast<std::byte*>(at); }

TEST(NvmeCommand, CountsBlocksFromZero) {
  NvmeLimits limits{.namespace_id = 3, .block_shift = 12};
  nvme_uring_cmd command = MakeCommand(Op::kRead, limits, 40'960, 8192);
  EXPECT_EQ(command.opcode, 0x02);
  EXPECT_EQ(command.nsid, 3u);
  EXPECT_EQ(command.cdw10, 10u);
  EXPECT_EQ(command.cdw11, 0u);
  EXPECT_EQ(command.cdw12, 1u);
  limits.block_shift = 9;
  command = MakeCommand(Op::kWrite, limits, std::uint64_t{5} << 41, 4096);
  EXPECT_EQ(command.opcode, 0x01);
  EXPECT_EQ(command.cdw10, 0u);
  EXPECT_EQ(command.cdw11, 5u);
  EXPECT_EQ(command.cdw12, 7u);
  command = MakeCommand(Op::kFlush, limits, 4096, 0);
  EXPECT_EQ(command.opcode, 0x00);
  EXPECT_EQ(command.nsid, 3u);
  EXPECT_EQ(command.cdw10, 0u);
  EXPECT_EQ(command.cdw12, 0u);
}

TEST(NvmePieces, ManySegmentsGoTogether) {
  const std::vector<iovec> segments{{Address(0x10000), 4096}, {Address(0x90000), 8192}};
  const NvmePiece piece = NextPiece(segments, 0, 12'288, 1 << 20);
  EXPECT_EQ(piece.whole.size(), 2u);
  EXPECT_EQ(piece.whole.data(), segments.data());
  EXPECT_EQ(piece.bytes, 12'288u);
}

TEST(NvmePieces, ALargeSegmentIsCutIntoEqualParts) {
  const std::vector<iovec> segments{{Address(0x100000), kMiB}};
  std::uint32_t begin = 0;
  std::vector<std::uint32_t> sizes;
  while (begin < kMiB) {
    const NvmePiece piece = NextPiece(segments, begin, kMiB, 508 * kKiB);
    EXPECT_TRUE(piece.whole.empty());
    EXPECT_EQ(piece.part.iov_base, Address(0x100000 + begin));
    sizes.push_back(piece.bytes / 1024);
    begin += piece.bytes;
  }
  EXPECT_EQ(sizes, (std::vector<std::uint32_t>{344, 340, 340}));
}

TEST(NvmePieces, ASegmentThatDoesNotFitWaitsForTheNextCommand) {
  const std::vector<iovec> segments{{Address(0x10000), 64 * kKiB}, {Address(0x90000), 96 * kKiB}};
  EXPECT_EQ(NextPiece(segments, 0, 160 * kKiB, 128 * kKiB).bytes, 64 * kKiB);
  EXPECT_EQ(NextPiece(segments, 64 * kKiB, 160 * kKiB, 128 * kKiB).bytes, 96 * kKiB);
}

// Whatever the segments and the limit: every byte once, in order, within the limit and aligned.
RC_GTEST_PROP(NvmePieces, CarryEveryByteOnce, ()) {
  std::vector<iovec> segments;
  std::uint64_t address = 0x1000000;
  std::uint32_t total = 0;
  const auto count = *rc::gen::inRange(1, 20);
  for (int i = 0; i < count; ++i) {
    const auto bytes = static_cast<std::uint32_t>(*rc::gen::inRange(1, 100)) * 4096u;
    segments.push_back({Address(address), bytes});
    address += bytes + 4096;
    total += bytes;
  }
  const std::uint32_t limit = static_cast<std::uint32_t>(*rc::gen::inRange(1, 130)) * 4096u;
  const auto begin =
      static_cast<std::uint32_t>(*rc::gen::inRange<std::uint32_t>(0, total / 4096)) * 4096u;
  const auto end = begin + static_cast<std::uint32_t>(
                               *rc::gen::inRange<std::uint32_t>(1, (total - begin) / 4096 + 1)) *
                               4096u;
  std::vector<std::uint64_t> pages;  // the address of each, in order
  for (const iovec& segment : segments) {
    for (std::uint64_t at = 0; at < segment.iov_len; at += 4096) {
      pages.push_back(reinterpret_cast<std::uintptr_t>(segment.iov_base) + at);
    }
  }
  std::size_t page = begin / 4096;
  for (std::uint32_t at = begin; at < end;) {
    const NvmePiece piece = NextPiece(segments, at, end, limit);
    RC_ASSERT(piece.bytes > 0u);
    RC_ASSERT(piece.bytes <= limit);
    RC_ASSERT(at + piece.bytes <= end);
    RC_ASSERT(NextPiece(segments, at, end, piece.bytes).bytes == piece.bytes);
    std::vector<iovec> parts(piece.whole.begin(), piece.whole.end());
    if (parts.empty()) parts.push_back(piece.part);
    std::uint32_t sum = 0;
    for (const iovec& part : parts) {
      for (std::uint64_t in = 0; in < part.iov_len; in += 4096) {
        RC_ASSERT(reinterpret_cast<std::uintptr_t>(part.iov_base) + in == pages[page++]);
      }
      sum += static_cast<std::uint32_t>(part.iov_len);
    }
    RC_ASSERT(sum == piece.bytes);
    at += piece.bytes;
  }
  RC_ASSERT(page == end / 4096);
}

TEST(NvmeAnswers, TellWhatComesNext) {
  EXPECT_EQ(Understand(0), NvmeAnswer::kDone);
  EXPECT_EQ(Understand(-EINVAL), NvmeAnswer::kSmaller);
  EXPECT_EQ(Understand(-EINTR), NvmeAnswer::kAgain);
  EXPECT_EQ(Understand(-EAGAIN), NvmeAnswer::kAgain);
  EXPECT_EQ(Understand(-EIO), NvmeAnswer::kFailed);
  EXPECT_EQ(Understand(-EACCES), NvmeAnswer::kFailed);
  EXPECT_EQ(Understand(0x0371), NvmeAnswer::kAgain);   // aborted by the host, as a reset does
  EXPECT_EQ(Understand(0x4371), NvmeAnswer::kFailed);  // the same, and do not retry
  EXPECT_EQ(Understand(0x0007), NvmeAnswer::kAgain);
  EXPECT_EQ(Understand(0x0008), NvmeAnswer::kAgain);
  EXPECT_EQ(Understand(0x0082), NvmeAnswer::kAgain);
  EXPECT_EQ(Understand(0x0281), NvmeAnswer::kFailed);  // an unrecovered read
  EXPECT_EQ(Understand(0x0080), NvmeAnswer::kFailed);  // beyond the end
}

}  // namespace
}  // namespace kvpool::device
