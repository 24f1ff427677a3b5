// drive_test --drive=KIND:PATH...: what devices promise, kept by real drives whose bytes may be
// lost: --drive=block:/dev/nvme0n1.
#include <gmock/gmock.h>

#include <cstdio>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "device/contract_test.h"

namespace kvpool::device {
namespace {

struct Drive {
  std::string name;  // as tests are named
  DeviceConfig config;
};

std::deque<Drive>& Drives() {
  static std::deque<Drive> drives;
  return drives;
}

Result<void> Zero(Device& device) {
  Owner owner(device);
  Buffer zeros(256 * kKiB);
  for (std::uint64_t at = 0; at < device.traits().capacity_bytes; at += zeros.size()) {
    TestIo write(Op::kWrite, at, {zeros.All()});
    if (const Status status = owner.Run(write); status != Status::kOk) {
      return Fail(status, "zeros could not be written");
    }
  }
  return {};
}

CreateOptions TakeWhatever(const DeviceConfig& config) {
  CreateOptions options = Creation();
  options.force = true;
  options.confirm = config.path;
  return options;
}

// The drive's first 8 MiB, new.
Result<std::unique_ptr<Device>> Make(const DeviceConfig& config) {
  if (auto made = CreateDevice(config, TakeWhatever(config)); !made) {
    return tl::unexpected(made.error());
  }
  auto device = OpenDevice(config);
  if (!device) return device;
  if (auto zeroed = Zero(**device); !zeroed) return tl::unexpected(zeroed.error());
  return device;
}

std::vector<ContractCase> Cases() {
  std::vector<ContractCase> cases;
  for (const Drive& drive : Drives()) {
    const DeviceConfig& config = drive.config;
    cases.push_back({drive.name.c_str(), [&config](const ScratchFolder&) { return Make(config); }});
  }
  return cases;
}

class OnDrive : public ::testing::TestWithParam<ContractCase> {
 protected:
  const DeviceConfig& config() const {
    return std::ranges::find(Drives(), std::string_view(GetParam().name), &Drive::name)->config;
  }
};

TEST_P(OnDrive, TheLabelIsFoundAndHeldAgainstStrangers) {
  ASSERT_TRUE(Make(config()));
  const auto label = ReadLabel(config());
  ASSERT_TRUE(label) << label.error().message;
  EXPECT_EQ(label->pool_id, 7u);
  const auto again = CreateDevice(config(), Creation(8));
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().message, ::testing::HasSubstr("label"));
  EXPECT_FALSE(RemoveDevice(config(), 8));
  EXPECT_TRUE(RemoveDevice(config(), 7));
  EXPECT_EQ(OpenDevice(config()).error().status, Status::kNotFound);
}

TEST_P(OnDrive, IsHeldByOneOpeningAtATime) {
  const auto first = Make(config());
  ASSERT_TRUE(first) << first.error().message;
  const auto second = OpenDevice(config());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().status, Status::kBusy);
  EXPECT_THAT(second.error().message, ::testing::HasSubstr("in use"));
}

TEST_P(OnDrive, AllOfItIsUsedWhereNoCapacityIsGiven) {
  DeviceConfig whole = config();
  whole.capacity_bytes = 0;
  ASSERT_TRUE(CreateDevice(whole, TakeWhatever(whole)));
  const auto device = OpenDevice(whole);
  ASSERT_TRUE(device) << device.error().message;
  const std::uint64_t end = (*device)->traits().capacity_bytes;
  EXPECT_GE(end, 60 * kMiB);
  Owner owner(**device);
  Buffer out(kMiB);
  Buffer in(kMiB);
  out.Fill(end);
  TestIo write(Op::kWrite, end - kMiB, {out.All()});
  TestIo read(Op::kRead, end - kMiB, {in.All()});
  EXPECT_EQ(owner.Run(write), Status::kOk);
  EXPECT_EQ(owner.Run(read), Status::kOk);
  EXPECT_TRUE(in == out);
}

constexpr auto kName = [](const auto& test) { return test.param.name; };
INSTANTIATE_TEST_SUITE_P(Drives, Contract, ::testing::ValuesIn(Cases()), kName);
INSTANTIATE_TEST_SUITE_P(Drives, OnDrive, ::testing::ValuesIn(Cases()), kName);

// KIND:PATH; false: no such kind.
bool AddDrive(std::string_view text) {
  const auto colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  if (colon == text.npos || (kind != "block" && kind != "nvme")) return false;
  DeviceConfig config;
  config.kind = kind == "block" ? DeviceKind::kBlock : DeviceKind::kNvme;
  config.path = text.substr(colon + 1);
  config.capacity_bytes = 8 * kMiB;
  config.name = std::string(kind) + "_" + config.path.filename().string();
  Drives().push_back({config.name, config});
  return true;
}

}  // namespace
}  // namespace kvpool::device

int main(int argc, char** argv) {
  constexpr std::string_view kOption = "--drive=";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with(kOption) &&
        !kvpool::device::AddDrive(argument.substr(kOption.size()))) {
      std::printf("drive_test: %s: write block:/dev/nvme0n1 or nvme:/dev/ng0n1\n", argv[i]);
      return 2;
    }
  }
  ::testing::InitGoogleTest(&argc, argv);
  if (kvpool::device::Drives().empty()) {
    std::puts("drive_test: name drives whose bytes may be lost: --drive=block:/dev/nvme0n1");
    return 2;
  }
  return RUN_ALL_TESTS();
}
