// What becomes of an SPDK device when its target misbehaves. Needs a target that can be told to.
#include <gmock/gmock.h>

#include <regex>

#include "device/spdk/spdk_test_support.h"

namespace kvpool::device {
namespace {

using ::testing::HasSubstr;

std::string Replaced(std::string text, const std::string& what, const std::string& with) {
  const auto at = text.find(what);
  EXPECT_NE(at, text.npos) << what << " in " << text;
  return text.replace(at, what.size(), with);
}

class SpdkTarget : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!spdk_setting.Hurts("TCP")) GTEST_SKIP() << "no TCP target that can be told to misbehave";
    Control("kill");
    Control("start");
  }

  static void TearDownTestSuite() {
    if (!spdk_setting.Hurts("TCP")) return;
    Control("kill");
    Control("start");
  }

  void Make() {
    auto device = MakeSpdk(SpdkConfig());
    ASSERT_TRUE(device) << device.error().message;
    device_ = std::move(*device);
  }

  void Refused(const std::string& address, Status status, const char* named) {
    DeviceConfig config = SpdkConfig();
    config.address = address;
    const auto device = MakeSpdk(config);
    ASSERT_FALSE(device) << address;
    EXPECT_EQ(device.error().status, status) << device.error().message;
    EXPECT_THAT(device.error().message, HasSubstr(named));
  }

  std::unique_ptr<Device> device_;
};

TEST_F(SpdkTarget, ThatIsNotThereIsNamed) {
  Refused(std::regex_replace(spdk_setting.address, std::regex("trsvcid:[0-9]+"), "trsvcid:1"),
          Status::kNotFound, "no NVMe/TCP target answers at 127.0.0.1");
  Refused(Replaced(spdk_setting.address, "kvpool:test", "kvpool:other"), Status::kNotFound,
          "does not open subsystem nqn.2024-01.org.kvpool:other");
  Refused(Replaced(spdk_setting.address, " ns:1", " ns:9"), Status::kNotFound,
          "has the namespaces 1, 2, 3, 4 and not 9");
  Refused(Replaced(spdk_setting.address, " ns:1", ""), Status::kInvalid, "add one to the address");
}

TEST_F(SpdkTarget, NamespacesWithMetadataAreRefused) {
  Refused(Replaced(spdk_setting.address, " ns:1", " ns:3"), Status::kUnsupported,
          "8 bytes of metadata");
}

TEST_F(SpdkTarget, BlocksOfFourKibibytesWorkBesideSmallOnes) {
  DeviceConfig large = SpdkConfig(16 * kMiB);
  large.address = Replaced(large.address, " ns:1", " ns:4");
  auto other = MakeSpdk(large);
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_THAT((*other)->traits().description, HasSubstr("blocks of 4096 bytes"));
  ASSERT_NO_FATAL_FAILURE(Make());
  for (Device* device : {device_.get(), other->get()}) {
    Traffic traffic(*device, 0, 60, 4);
    const auto counts = traffic.Run([](const auto& now) { return now.good >= 100; });
    EXPECT_EQ(counts.wrong + counts.failed, 0u);
  }
}

// Everything that was in flight is repeated, on new connections.
TEST_F(SpdkTarget, CutConnectionsAreMadeAgain) {
  ASSERT_NO_FATAL_FAILURE(Make());
  Background traffic(*device_);
  for (int i = 0; i < 3; ++i) {
    traffic.AwaitGood(200);
    Control("drop");
  }
  traffic.AwaitGood(200);
  const auto counts = traffic.Stop();
  EXPECT_EQ(counts.wrong, 0u);
  EXPECT_EQ(counts.failed, 0u);
}

TEST_F(SpdkTarget, ARestartedTargetIsFoundAgain) {
  ASSERT_NO_FATAL_FAILURE(Make());
  Background traffic(*device_);
  traffic.AwaitGood(200);
  Control("kill");
  Control("start");
  traffic.AwaitGood(200);
  const auto counts = traffic.Stop();
  EXPECT_EQ(counts.wrong, 0u);
  EXPECT_EQ(counts.failed, 0u);
}

// In flight or not, every Io comes back, later ones at once; and nothing else is disturbed.
TEST_F(SpdkTarget, ALostTargetDrains) {
  ASSERT_NO_FATAL_FAILURE(Make());
  auto queue = device_->OpenQueue({});
  ASSERT_TRUE(queue);
  auto idle = device_->OpenQueue({});
  ASSERT_TRUE(idle);
  Background traffic(*device_);
  traffic.AwaitGood(200);
  Control("kill");
  traffic.AwaitFailed(1000);
  const auto counts = traffic.Stop();
  EXPECT_EQ(counts.wrong, 0u);
  Buffer memory(64 * kKiB);
  for (Queue* each : {queue->get(), idle->get()}) {
    TestIo read(Op::kRead, 0, {memory.All()});
    Io* one = &read;
    ASSERT_EQ(each->Submit({&one, 1}), 1u);
    EXPECT_EQ(each->Poll({&one, 1}), 1u) << "at once";
    EXPECT_EQ(read.status, Status::kIoError);
  }
  EXPECT_FALSE(device_->OpenQueue({}));
  queue->reset();
  idle->reset();
  device_.reset();
  Control("start");
  Make();  // the same process may open it again
}

// After a reset the namespace could be anybody's.
TEST_F(SpdkTarget, AnotherDriveAtTheSameAddressIsNotWrittenTo) {
  ASSERT_NO_FATAL_FAILURE(Make());
  Background traffic(*device_);
  traffic.AwaitGood(200);
  Control("kill");
  Control("blank");
  Control("start");
  traffic.AwaitFailed(1000);
  const auto counts = traffic.Stop();
  EXPECT_EQ(counts.wrong, 0u);
  device_.reset();
  const auto label = ReadLabel(SpdkConfig());
  ASSERT_FALSE(label);
  EXPECT_EQ(label.error().status, Status::kNotFound);
}

// A command that the controller does not give back is ended by a reset; the others go on.
TEST_F(SpdkTarget, AStuckReadCanBeCancelled) {
  ASSERT_NO_FATAL_FAILURE(Make());
  Owner owner(*device_);
  Buffer memory(64 * kKiB);
  TestIo first(Op::kRead, 0, {memory.All()});
  ASSERT_EQ(owner.Run(first), Status::kOk);
  Control("hold 1");
  TestIo stuck(Op::kRead, 0, {memory.All()});
  ASSERT_TRUE(owner.Submit(stuck));
  owner.queue().Cancel(stuck);
  EXPECT_EQ(owner.Wait(1), std::vector<Io*>{&stuck});
  EXPECT_EQ(stuck.status, Status::kCancelled);
  Control("let-go");
  TestIo last(Op::kRead, 0, {memory.All()});
  EXPECT_EQ(owner.Run(last), Status::kOk);
}

TEST_F(SpdkTarget, AnErrorOfTheDriveIsAnError) {
  ASSERT_NO_FATAL_FAILURE(Make());
  Owner owner(*device_);
  Buffer memory(64 * kKiB);
  Control("fail 1");
  TestIo read(Op::kRead, 0, {memory.All()});
  EXPECT_EQ(owner.Run(read), Status::kIoError);
  EXPECT_EQ(owner.Run(read), Status::kOk);
}

TEST_F(SpdkTarget, AVanishedNamespaceFails) {
  ASSERT_NO_FATAL_FAILURE(Make());
  Background traffic(*device_);
  traffic.AwaitGood(200);
  Control("remove 1");
  traffic.AwaitFailed(100);
  EXPECT_EQ(traffic.Stop().wrong, 0u);
}

}  // namespace
}  // namespace kvpool::device
