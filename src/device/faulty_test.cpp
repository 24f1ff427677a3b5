#include "device/faulty.h"

#include <bit>

#include "device/test_support.h"
#include "mem/detacher.h"

namespace kvpool::device {
namespace {

// A memory device with faults: its own bytes stay visible to the test.
class Faulty {
 public:
  explicit Faulty(const char* script) {
    auto memory = OpenDevice(MemoryConfig(), {.lock_memory = false}).value();
    bytes = memory->Map(0);
    device = MakeFaulty(std::move(memory), ParseFaults(script).value());
    owner = std::make_unique<Owner>(*device);
  }

  std::byte* bytes;
  std::unique_ptr<Device> device;
  std::unique_ptr<Owner> owner;
};

int DifferentBits(const std::byte* a, const std::byte* b, std::size_t bytes) {
  int count = 0;
  for (std::size_t i = 0; i < bytes; ++i)
    count += std::popcount(std::to_integer<unsigned>(a[i] ^ b[i]));
  return count;
}

TEST(Faulty, AnErrorTouchesNothing) {
  Faulty faulty("write.error after=1 count=1; read.error count=1");
  Buffer ones(4096, 0xff);
  TestIo write(Op::kWrite, 0, {ones.All()});
  TestIo second(Op::kWrite, 4096, {ones.All()});
  EXPECT_EQ(faulty.owner->Run(write), Status::kOk);
  EXPECT_EQ(faulty.owner->Run(second), Status::kIoError);
  EXPECT_EQ(faulty.bytes[0], std::byte{0xff});
  EXPECT_EQ(faulty.bytes[4096], std::byte{0});
  Buffer in(4096, 0x22);
  TestIo read(Op::kRead, 0, {in.All()});
  EXPECT_EQ(faulty.owner->Run(read), Status::kIoError);
  EXPECT_TRUE(in == Buffer(4096, 0x22));
  EXPECT_EQ(faulty.owner->Run(read), Status::kOk);
  EXPECT_TRUE(in == ones);
}

TEST(Faulty, ATornWriteKeepsAPrefixAndReportsSuccess) {
  Faulty faulty("write.short count=1");
  Buffer ones(10'000, 0xff);
  TestIo write(Op::kWrite, 100, {ones.Part(0, 3000), ones.Part(3000, 7000)});
  EXPECT_EQ(faulty.owner->Run(write), Status::kOk);
  EXPECT_EQ(DifferentBits(faulty.bytes + 100, ones.data(), 5000), 0);
  EXPECT_EQ(faulty.bytes[5100], std::byte{0});
  EXPECT_EQ(faulty.owner->Run(write), Status::kOk);
  EXPECT_EQ(DifferentBits(faulty.bytes + 100, ones.data(), 10'000), 0);
}

TEST(Faulty, AShortReadLeavesTheRestAndReportsSuccess) {
  Faulty faulty("read.short");
  Buffer in(8192, 0x33);
  TestIo read(Op::kRead, 0, {in.All()});
  EXPECT_EQ(faulty.owner->Run(read), Status::kOk);
  EXPECT_EQ(in.data()[4095], std::byte{0});
  EXPECT_EQ(in.data()[4096], std::byte{0x33});
}

TEST(Faulty, AFlippedReadIsWrongByOneBitAndTheStoredBytesAreNot) {
  Faulty faulty("read.flip; seed=3");
  Buffer in(8192);
  TestIo read(Op::kRead, 0, {in.Part(0, 4096), in.Part(4096, 4096)});
  EXPECT_EQ(faulty.owner->Run(read), Status::kOk);
  EXPECT_EQ(DifferentBits(in.data(), faulty.bytes, 8192), 1);
  EXPECT_EQ(DifferentBits(faulty.bytes, Buffer(8192).data(), 8192), 0);
}

TEST(Faulty, AFlippedWriteIsStoredWrongAndItsOwnersBytesAreNot) {
  Faulty faulty("write.flip");
  Buffer out(8192);
  Buffer before(8192);
  out.Fill(1);
  before.Fill(1);
  TestIo write(Op::kWrite, 0, {out.Part(0, 100), out.Part(100, 8092)});
  EXPECT_EQ(faulty.owner->Run(write), Status::kOk);
  EXPECT_TRUE(out == before);
  EXPECT_EQ(DifferentBits(faulty.bytes, out.data(), 8192), 1);
}

TEST(Faulty, SeedsChooseOtherBits) {
  std::vector<std::vector<std::byte>> results;
  for (const char* script : {"read.flip; seed=1", "read.flip; seed=1", "read.flip; seed=2"}) {
    Faulty faulty(script);
    Buffer in(4096);
    TestIo read(Op::kRead, 0, {in.All()});
    EXPECT_EQ(faulty.owner->Run(read), Status::kOk);
    results.emplace_back(in.data(), in.data() + 4096);
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_NE(results[0], results[2]);
}

TEST(Faulty, AHungIoComesBackByCancelOnly) {
  Faulty faulty("read.hang count=1");
  Buffer in(8192, 0x44);
  TestIo hung(Op::kRead, 0, {in.Part(0, 4096)});
  TestIo other(Op::kRead, 0, {in.Part(4096, 4096)});
  ASSERT_TRUE(faulty.owner->Submit(hung));
  EXPECT_EQ(faulty.owner->Run(other), Status::kOk);
  Io* none;
  EXPECT_EQ(faulty.owner->queue().Poll({&none, 1}), 0u);
  faulty.owner->queue().Cancel(hung);
  EXPECT_EQ(faulty.owner->Wait(1), std::vector<Io*>{&hung});
  EXPECT_EQ(hung.status, Status::kCancelled);
  EXPECT_EQ(in.data()[0], std::byte{0x44});
}

// A memory device with faults on a clock of the test's.
class Late {
 public:
  explicit Late(const char* script) {
    auto memory = OpenDevice(MemoryConfig(), {.lock_memory = false}).value();
    bytes = memory->Map(0);
    device = MakeFaulty(std::move(memory), ParseFaults(script).value(), clock);
    owner = std::make_unique<Owner>(*device);
  }
  std::size_t Poll() {
    Io* done = nullptr;
    return owner->queue().Poll({&done, 1});
  }

  ManualClock clock;
  std::byte* bytes;
  std::unique_ptr<Device> device;
  std::unique_ptr<Owner> owner;
};

TEST(Faulty, AHeldReadIgnoresCancelAndLandsAtItsTime) {
  Late late("read.hold ms=10 count=1");
  std::fill_n(late.bytes, 8192, std::byte{0x77});
  Buffer in(8192, 0x44);
  TestIo read(Op::kRead, 0, {in.Part(0, 4096), in.Part(4096, 4096)});
  ASSERT_TRUE(late.owner->Submit(read));
  EXPECT_EQ(late.Poll(), 0u);
  late.owner->queue().Cancel(read);
  late.clock.Advance(9'999'999);
  EXPECT_EQ(late.Poll(), 0u);
  EXPECT_TRUE(in == Buffer(8192, 0x44));
  EXPECT_EQ(late.owner->queue().NextPollNs(), 10'000'000);
  late.clock.Advance(1);
  EXPECT_EQ(late.Poll(), 1u);
  EXPECT_EQ(read.status, Status::kOk);
  EXPECT_TRUE(in == Buffer(8192, 0x77));
}

TEST(Faulty, AHeldReadLandsInThePagesThatItHolds) {
  Late late("read.hold ms=10 count=1");
  std::fill_n(late.bytes, 8192, std::byte{0x77});
  Buffer in(8192, 0x44);
  TestIo read(Op::kRead, 0, {in.All()});
  ASSERT_TRUE(late.owner->Submit(read));
  EXPECT_EQ(late.Poll(), 0u);
  late.owner->queue().Cancel(read);
  if (!late.owner->queue().HoldsPages(read)) GTEST_SKIP() << "io_uring may not hold pages here";
  mem::RegisteredMemory registered;
  const iovec part = in.All();
  ASSERT_TRUE(mem::PageDetacher(registered).Detach({&part, 1}));
  std::fill_n(in.data(), 8192, std::byte{0x55});
  late.clock.Advance(10'000'000);
  EXPECT_EQ(late.Poll(), 1u);
  EXPECT_TRUE(in == Buffer(8192, 0x55));
}

TEST(Faulty, AHeldWriteReachesTheDeviceLateWithTheBytesItHad) {
  Late late("write.hold ms=10 count=1");
  Buffer out(4096, 0x11);
  TestIo write(Op::kWrite, 0, {out.All()});
  ASSERT_TRUE(late.owner->Submit(write));
  late.owner->queue().Cancel(write);
  std::fill_n(out.data(), 4096, std::byte{0x22});
  EXPECT_EQ(late.Poll(), 0u);
  EXPECT_EQ(late.bytes[0], std::byte{0});
  late.clock.Advance(10'000'000);
  EXPECT_EQ(late.owner->Wait(1), std::vector<Io*>{&write});
  EXPECT_EQ(late.bytes[0], std::byte{0x11});
}

TEST(Faulty, AfterItDisappearedEverythingFailsOnAllQueues) {
  Faulty faulty("disappear after=2 count=1");
  Owner second(*faulty.device);
  Buffer memory(4096);
  TestIo read(Op::kRead, 0, {memory.All()});
  TestIo write(Op::kWrite, 0, {memory.All()});
  TestIo flush(Op::kFlush, 0, {});
  EXPECT_EQ(faulty.owner->Run(read), Status::kOk);
  EXPECT_EQ(second.Run(write), Status::kOk);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(faulty.owner->Run(read), Status::kIoError);
    EXPECT_EQ(second.Run(write), Status::kIoError);
    EXPECT_EQ(second.Run(flush), Status::kIoError);
  }
  Buffer ones(4096, 0xff);
  TestIo late(Op::kWrite, 0, {ones.All()});
  EXPECT_EQ(second.Run(late), Status::kIoError);
  EXPECT_EQ(faulty.bytes[0], std::byte{0});
}

TEST(Faulty, InsideSlowAnErrorTakesItsTimeAndOutsideItDoesNot) {
  for (const bool outside : {false, true}) {
    ManualClock clock;
    DeviceConfig config = MemoryConfig();
    config.slow = SlowConfig{.bytes_per_s = 1e9};
    config.faults = "read.error";
    auto device =
        OpenDevice(config, {.clock = &clock, .lock_memory = false, .faults_outside_slow = outside});
    ASSERT_TRUE(device) << device.error().message;
    auto queue = (*device)->OpenQueue({}).value();
    Buffer memory(4096);
    TestIo read(Op::kRead, 0, {memory.All()});
    Io* one = &read;
    ASSERT_EQ(queue->Submit({&one, 1}), 1u);
    EXPECT_EQ(queue->Poll({&one, 1}), outside ? 1u : 0u);
    clock.Advance(4096);
    EXPECT_EQ(queue->Poll({&one, 1}), outside ? 0u : 1u);
    EXPECT_EQ(read.status, Status::kIoError);
  }
}

TEST(Faulty, AHangInsideSlowIsCancelledThroughIt) {
  DeviceConfig config = MemoryConfig();
  config.slow = SlowConfig{.bytes_per_s = 1e9};
  config.faults = "read.hang";
  auto device = OpenDevice(config, {.lock_memory = false});
  ASSERT_TRUE(device) << device.error().message;
  Owner owner(**device);
  Buffer memory(4096);
  TestIo read(Op::kRead, 0, {memory.All()});
  ASSERT_TRUE(owner.Submit(read));
  owner.queue().Cancel(read);
  EXPECT_EQ(owner.Wait(1), std::vector<Io*>{&read});
  EXPECT_EQ(read.status, Status::kCancelled);
}

TEST(Faulty, AMalformedScriptOpensNothing) {
  DeviceConfig config = MemoryConfig();
  config.faults = "read.explode";
  const auto device = OpenDevice(config);
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().status, Status::kInvalid);
  EXPECT_NE(device.error().message.find("read.explode"), std::string::npos);
}

}  // namespace
}  // namespace kvpool::device
