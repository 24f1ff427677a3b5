// An SPDK device over whatever drive the command line names.
#include <gmock/gmock.h>
#include <sys/mman.h>

#include <cstring>
#include <thread>

#include "device/contract_test.h"
#include "device/spdk/spdk_test_support.h"

namespace kvpool::device {
namespace {

using ::testing::HasSubstr;

// The contract wants a device of zeros.
Result<std::unique_ptr<Device>> MakeEmpty(const ScratchFolder& /*folder*/) {
  auto device = MakeSpdk(SpdkConfig(8 * kMiB));
  if (!device) return device;
  Owner owner(**device);
  Buffer zeros(kMiB);
  for (std::uint64_t offset = 0; offset < 8 * kMiB; offset += kMiB) {
    TestIo write(Op::kWrite, offset, {zeros.All()});
    EXPECT_EQ(owner.Run(write), Status::kOk);
  }
  return device;
}

const ContractCase kCases[] = {{"spdk", &MakeEmpty}, {"spdk_registered", &MakeEmpty, true}};

INSTANTIATE_TEST_SUITE_P(Spdk, Contract, ::testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

TEST(SpdkDevice, KeepsItsLabel) {
  const DeviceConfig config = SpdkConfig();
  {
    ASSERT_TRUE(MakeSpdk(config));
  }
  const auto label = ReadLabel(config);
  ASSERT_TRUE(label) << label.error().message;
  EXPECT_EQ(label->pool_id, Creation().label.pool_id);
  EXPECT_EQ(label->capacity_bytes, config.capacity_bytes);
  const auto other_pool = OpenDevice(config, {.pool_id = 8});
  ASSERT_FALSE(other_pool);
  EXPECT_THAT(other_pool.error().message, HasSubstr("belongs to pool"));
  EXPECT_FALSE(RemoveDevice(config, 8));
  EXPECT_TRUE(RemoveDevice(config, Creation().label.pool_id));
  const auto gone = OpenDevice(config);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().status, Status::kNotFound);
}

TEST(SpdkDevice, IsOpenOnce) {
  const DeviceConfig config = SpdkConfig();
  auto device = MakeSpdk(config);
  ASSERT_TRUE(device) << device.error().message;
  const auto again = OpenDevice(config);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().status, Status::kBusy);
  EXPECT_THAT(again.error().message, HasSubstr("in use"));
  EXPECT_TRUE(ReadLabel(config)) << "a label can be read whoever has the drive";
  device->reset();
  EXPECT_TRUE(OpenDevice(config));
}

TEST(SpdkDevice, IsTakenOverOnlyWhenToldTwice) {
  const DeviceConfig config = SpdkConfig();
  {
    ASSERT_TRUE(MakeSpdk(config));
  }
  CreateOptions options = Creation();
  const auto asked = CreateDevice(config, options);
  ASSERT_FALSE(asked);
  EXPECT_EQ(asked.error().status, Status::kExists);
  EXPECT_THAT(asked.error().message, HasSubstr("label"));
  options.force = true;
  EXPECT_FALSE(CreateDevice(config, options));
  options.confirm = "another";
  EXPECT_FALSE(CreateDevice(config, options));
}

TEST(SpdkDevice, HasNoMoreRoomThanItsDrive) {
  DeviceConfig config = SpdkConfig(std::uint64_t{1} << 50);
  const auto device = MakeSpdk(config);
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().status, Status::kNoSpace);
}

// Memory that a drive may be given as it is, and the same addresses with other memory behind them.
TEST(SpdkDevice, ReachesRegisteredMemoryUntilItIsGone) {
  auto device = MakeSpdk(SpdkConfig());
  ASSERT_TRUE(device) << device.error().message;
  mem::RegisteredMemory registered;
  const auto first = (*device)->OpenQueue({.registered = &registered});
  const auto second = (*device)->OpenQueue({.registered = &registered});
  ASSERT_TRUE(first && second);
  const auto run = [](Queue& queue, Op op, std::span<std::byte> bytes) {
    TestIo io(op, 0, {{bytes.data(), 12 * kKiB}, {bytes.data() + 12 * kKiB, 500 * kKiB}});
    Io* one = &io;
    EXPECT_EQ(queue.Submit({&one, 1}), 1u);
    while (queue.Poll({&one, 1}) == 0) {
    }
    return io.status;
  };
  constexpr std::size_t kArea = 8 * kMiB;
  void* const area = ::mmap(nullptr, kArea, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto at = reinterpret_cast<std::uintptr_t>(area);
  std::byte* const slab = static_cast<std::byte*>(area) + (kSlabBytes - at % kSlabBytes);
  for (int round = 0; round < 6; ++round) {
    void* memory = ::mmap(slab, 2 * kSlabBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    const std::span<std::byte> bytes{static_cast<std::byte*>(memory), 2 * kSlabBytes};
    if (round % 3 != 2) registered.Add(bytes);
    std::ranges::fill(bytes.first(kMiB), static_cast<std::byte>(round + 1));
    Queue& queue = round % 2 == 0 ? **first : **second;
    EXPECT_EQ(run(queue, Op::kWrite, bytes), Status::kOk);
    std::ranges::fill(bytes.first(kMiB), std::byte{0});
    EXPECT_EQ(run(queue, Op::kRead, bytes), Status::kOk);
    EXPECT_EQ(bytes[0], static_cast<std::byte>(round + 1)) << round;
    EXPECT_EQ(bytes[512 * kKiB - 1], static_cast<std::byte>(round + 1)) << round;
    EXPECT_EQ(bytes[512 * kKiB], std::byte{0}) << round;
    registered.Remove(bytes);
  }
  ::munmap(area, kArea);
}

TEST(SpdkDevice, ManyQueuesReadBackWhatTheyWrote) {
  auto device = MakeSpdk(SpdkConfig());
  ASSERT_TRUE(device) << device.error().message;
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      Traffic traffic(**device, i * 40, 40, i);
      const auto counts = traffic.Run([](const auto& now) { return now.good >= 400; });
      EXPECT_EQ(counts.wrong, 0u);
      EXPECT_EQ(counts.failed, 0u);
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace kvpool::device
