// What every device promises, back end or wrapper.
#include "device/contract_test.h"

#include <sys/mman.h>

#include <map>
#include <set>

namespace kvpool::device {
namespace {

TEST_P(Contract, TraitsAreUsable) {
  EXPECT_FALSE(traits().name.empty());
  EXPECT_FALSE(traits().kind.empty());
  EXPECT_FALSE(traits().description.empty());
  EXPECT_EQ(traits().capacity_bytes, 8 * kMiB);
  EXPECT_LE(traits().alignment, kIoAlignment);
  EXPECT_GE(traits().max_io_bytes, 256 * kKiB);
  EXPECT_GE(traits().depth, 1u);
  EXPECT_EQ(traits().mapped, device_->Map(0) != nullptr);
}

TEST_P(Contract, WhatIsWrittenIsReadBack) {
  Buffer out(1 * kMiB);
  Buffer in(1 * kMiB);
  for (const std::uint64_t offset : {0 * kMiB, 3 * kMiB, 7 * kMiB}) {
    out.Fill(offset + 1);
    TestIo write(Op::kWrite, offset, {out.All()});
    EXPECT_EQ(owner_->Run(write), Status::kOk);
  }
  for (const std::uint64_t offset : {7 * kMiB, 0 * kMiB, 3 * kMiB}) {
    out.Fill(offset + 1);
    TestIo read(Op::kRead, offset, {in.All()});
    EXPECT_EQ(owner_->Run(read), Status::kOk);
    EXPECT_TRUE(in == out) << offset;
  }
}

TEST_P(Contract, ScatteredSegmentsKeepTheirOrder) {
  Buffer out(256 * kKiB);
  Buffer in(256 * kKiB);
  out.Fill(5);
  std::vector<iovec> back_to_front;
  for (int i = 15; i >= 0; --i) back_to_front.push_back(out.Part(i * 16 * kKiB, 16 * kKiB));
  TestIo write(Op::kWrite, 64 * kKiB, back_to_front);
  ASSERT_EQ(owner_->Run(write), Status::kOk);

  std::vector<iovec> uneven{in.Part(0, 4 * kKiB), in.Part(4 * kKiB, 124 * kKiB),
                            in.Part(128 * kKiB, 128 * kKiB)};
  TestIo read(Op::kRead, 64 * kKiB, uneven);
  ASSERT_EQ(owner_->Run(read), Status::kOk);
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_TRUE(std::equal(in.data() + i * 16 * kKiB, in.data() + (i + 1) * 16 * kKiB,
                           out.data() + (15 - i) * 16 * kKiB))
        << i;
  }
}

TEST_P(Contract, AsManySegmentsAsPromised) {
  const std::size_t count = traits().max_segments;
  Buffer out(count * 4096);
  Buffer in(count * 4096);
  out.Fill(6);
  std::vector<iovec> from;
  std::vector<iovec> into;
  for (std::size_t i = 0; i < count; ++i) {
    from.push_back(out.Part(i * 4096, 4096));
    into.push_back(in.Part(i * 4096, 4096));
  }
  TestIo write(Op::kWrite, 0, from);
  TestIo read(Op::kRead, 0, into);
  EXPECT_EQ(owner_->Run(write), Status::kOk);
  EXPECT_EQ(owner_->Run(read), Status::kOk);
  EXPECT_TRUE(in == out);

  from.push_back(out.Part(0, 4096));
  TestIo more(Op::kWrite, 0, from);
  EXPECT_EQ(owner_->Run(more), Status::kInvalid);
}

TEST_P(Contract, BadBoundsAndSizesAreInvalidAndTouchNothing) {
  Buffer out(2 * kMiB + 8192, 0xee);
  const std::uint64_t end = traits().capacity_bytes;
  const std::size_t step = Step();
  struct {
    std::uint64_t offset;
    std::size_t bytes;
  } bad[] = {{end, step},
             {end - step, 2 * step},
             {end + step, step},
             {~std::uint64_t{0} - step + 1, step},
             {0, 0},
             {0, traits().max_io_bytes + step}};
  for (const auto& [offset, bytes] : bad) {
    for (const Op op : {Op::kRead, Op::kWrite}) {
      TestIo io(op, offset, {out.Part(0, bytes)});
      EXPECT_EQ(owner_->Run(io), Status::kInvalid) << offset << " " << bytes;
    }
  }
  TestIo no_segments(Op::kRead, 0, {});
  no_segments.bytes = static_cast<std::uint32_t>(step);
  EXPECT_EQ(owner_->Run(no_segments), Status::kInvalid);
  TestIo null_segment(Op::kRead, 0, {{nullptr, step}});
  EXPECT_EQ(owner_->Run(null_segment), Status::kInvalid);
  TestIo wrong_sum(Op::kWrite, 0, {out.Part(0, step)});
  wrong_sum.bytes *= 2;
  EXPECT_EQ(owner_->Run(wrong_sum), Status::kInvalid);
  TestIo flush_with_bytes(Op::kFlush, 0, {out.Part(0, step)});
  EXPECT_EQ(owner_->Run(flush_with_bytes), Status::kInvalid);

  Buffer in(step, 0x11);
  TestIo last(Op::kRead, end - step, {in.All()});
  EXPECT_EQ(owner_->Run(last), Status::kOk);
  EXPECT_TRUE(in == Buffer(step, 0));
}

TEST_P(Contract, AlignmentIsAsTheTraitsSay) {
  Buffer memory(16 * kKiB);
  const Status expected = traits().alignment == 1 ? Status::kOk : Status::kInvalid;
  TestIo offset(Op::kRead, 1, {memory.Part(0, 4096)});
  EXPECT_EQ(owner_->Run(offset), expected);
  TestIo address(Op::kRead, 0, {memory.Part(1, 4096)});
  EXPECT_EQ(owner_->Run(address), expected);
  TestIo length(Op::kRead, 0, {memory.Part(0, 4095)});
  EXPECT_EQ(owner_->Run(length), expected);
  TestIo segment(Op::kRead, 0, {memory.Part(0, 100), memory.Part(4096, 3996)});
  EXPECT_EQ(owner_->Run(segment), expected);
}

TEST_P(Contract, EveryIoComesBackOnceAndAFullQueueTakesFewer) {
  constexpr std::size_t kIos = 512;
  Buffer memory(kIos * 4096);
  std::vector<std::unique_ptr<TestIo>> ios;
  std::vector<Io*> waiting;
  for (std::size_t i = 0; i < kIos; ++i) {
    const bool bad = i % 7 == 3;
    ios.push_back(std::make_unique<TestIo>(i % 2 == 0 ? Op::kRead : Op::kWrite,
                                           bad ? traits().capacity_bytes : i * 4096,
                                           std::vector{memory.Part(i * 4096, 4096)}));
    waiting.push_back(ios.back().get());
  }
  std::map<Io*, int> seen;
  std::span<Io* const> left = waiting;
  std::size_t in_flight = owner_->queue().Submit(left);
  EXPECT_GE(in_flight, std::min<std::size_t>(traits().depth, 4));
  EXPECT_LT(in_flight, kIos);
  left = left.subspan(in_flight);
  while (in_flight > 0) {
    for (Io* io : owner_->Wait(1)) {
      ++seen[io];
      --in_flight;
    }
    const std::size_t more = owner_->queue().Submit(left);
    left = left.subspan(more);
    in_flight += more;
    if (::testing::Test::HasFailure()) break;
  }
  EXPECT_TRUE(left.empty());
  ASSERT_EQ(seen.size(), kIos);
  for (std::size_t i = 0; i < kIos; ++i) {
    EXPECT_EQ(seen[ios[i].get()], 1);
    EXPECT_EQ(ios[i]->status, i % 7 == 3 ? Status::kInvalid : Status::kOk) << i;
  }
  Io* none;
  EXPECT_EQ(owner_->queue().Poll({&none, 1}), 0u);
}

// An owner that sleeps before it ever polls must not sleep for ever, whatever becomes of the Io.
TEST_P(Contract, AFinishedIoWakesItsOwner) {
  Buffer memory(4096);
  for (const std::uint64_t offset : {std::uint64_t{0}, traits().capacity_bytes}) {
    TestIo io(Op::kRead, offset, {memory.All()});
    ASSERT_TRUE(owner_->Submit(io));
    EXPECT_TRUE(owner_->Sleep(Clock::Monotonic().NowNs() + 2'000'000'000)) << offset;
    EXPECT_EQ(owner_->Wait(1), std::vector<Io*>{&io});
  }
}

TEST_P(Contract, OnlyMappedBytesAreLent) {
  TestIo loan(Op::kLend, 0, {});
  loan.bytes = 4096;
  EXPECT_EQ(owner_->Run(loan), traits().mapped ? Status::kOk : Status::kInvalid);
  loan.offset = traits().capacity_bytes;
  EXPECT_EQ(owner_->Run(loan), Status::kInvalid);
}

TEST_P(Contract, AnIoCanBeUsedAgain) {
  Buffer memory(8192);
  TestIo io(Op::kRead, traits().capacity_bytes, {memory.All()});
  EXPECT_EQ(owner_->Run(io), Status::kInvalid);
  io.offset = 0;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(owner_->Run(io), Status::kOk);
}

TEST_P(Contract, FlushAnswers) {
  Buffer memory(8192, 3);
  TestIo write(Op::kWrite, 0, {memory.All()});
  EXPECT_EQ(owner_->Run(write), Status::kOk);
  TestIo flush(Op::kFlush, 0, {});
  EXPECT_EQ(owner_->Run(flush), Status::kOk);
}

TEST_P(Contract, CancelledIosComeBackOnce) {
  constexpr std::size_t kIos = 64;
  Buffer memory(kIos * 64 * kKiB);
  std::vector<std::unique_ptr<TestIo>> ios;
  std::vector<Io*> all;
  for (std::size_t i = 0; i < kIos; ++i) {
    ios.push_back(std::make_unique<TestIo>(Op::kRead, i * 64 * kKiB,
                                           std::vector{memory.Part(i * 64 * kKiB, 64 * kKiB)}));
    all.push_back(ios.back().get());
  }
  const std::size_t taken = owner_->queue().Submit(all);
  for (std::size_t i = 0; i < taken; ++i) {
    owner_->queue().Cancel(*ios[i]);
    owner_->queue().Cancel(*ios[i]);
  }
  const auto done = owner_->Wait(taken);
  EXPECT_EQ(std::set<Io*>(done.begin(), done.end()).size(), taken);
  for (Io* io : done) {
    EXPECT_TRUE(io->status == Status::kOk || io->status == Status::kCancelled);
  }
  TestIo after(Op::kRead, 0, {memory.Part(0, 4096)});
  EXPECT_EQ(owner_->Run(after), Status::kOk);
}

TEST_P(Contract, TwoQueuesDoNotDisturbEachOther) {
  Owner other(*device_);
  Buffer a(64 * kKiB, 1);
  Buffer b(64 * kKiB, 2);
  TestIo write_a(Op::kWrite, 0, {a.All()});
  TestIo write_b(Op::kWrite, 64 * kKiB, {b.All()});
  ASSERT_TRUE(owner_->Submit(write_a));
  ASSERT_TRUE(other.Submit(write_b));
  EXPECT_EQ(other.Wait(1), std::vector<Io*>{&write_b});
  EXPECT_EQ(owner_->Wait(1), std::vector<Io*>{&write_a});
  Buffer in(128 * kKiB);
  TestIo read(Op::kRead, 0, {in.All()});
  EXPECT_EQ(other.Run(read), Status::kOk);
  EXPECT_TRUE(std::equal(a.data(), a.data() + a.size(), in.data()));
  EXPECT_TRUE(std::equal(b.data(), b.data() + b.size(), in.data() + a.size()));
}

// Memory that went away and came back at the same place is another one.
TEST_P(Contract, FreedMemoryIsNotWrittenThroughAnOldPin) {
  Buffer out(64 * kKiB);
  out.Fill(9);
  TestIo write(Op::kWrite, 0, {out.All()});
  ASSERT_EQ(owner_->Run(write), Status::kOk);
  void* place = nullptr;
  for (int round = 0; round < 4; ++round) {
    void* memory = ::mmap(place, 64 * kKiB, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | (place == nullptr ? 0 : MAP_FIXED), -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    place = memory;
    const std::span<std::byte> bytes{static_cast<std::byte*>(memory), 64 * kKiB};
    const bool registers = round % 2 == 0;
    if (registers) registered_.Add(bytes);
    TestIo read(Op::kRead, 0, {{memory, 32 * kKiB}, {bytes.data() + 32 * kKiB, 32 * kKiB}});
    EXPECT_EQ(owner_->Run(read), Status::kOk);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), out.data())) << round;
    if (registers) registered_.Remove(bytes);
  }
  ::munmap(place, 64 * kKiB);
}

}  // namespace
}  // namespace kvpool::device
