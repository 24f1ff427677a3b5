#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <fcntl.h>

#include <random>
#include <set>
#include <string>
#include <vector>

#include "ipc/arguments.h"
#include "ipc/presence.h"
#include "ipc/records.h"
#include "ipc/ring.h"

namespace kvpool::ipc {
namespace {

std::string KeyOf(int i) { return "key" + std::to_string(i); }

TEST(Presence, AReaderSeesWhatTheWriterAddsAndRemoves) {
  auto writer = PresenceWriter::Make(7);
  ASSERT_TRUE(writer) << writer.error().message;
  auto reader = SharedTable::Adopt(Descriptor(dup((*writer)->table()->fd())));
  ASSERT_TRUE(reader) << reader.error().message;
  std::vector<std::string> names;
  for (int i = 0; i < 100; ++i) names.push_back(KeyOf(i));
  const std::vector<Key> keys(names.begin(), names.end());
  EXPECT_EQ(MatchIn(**reader, keys), 0u);
  for (const Key key : keys) (*writer)->Add(key);
  EXPECT_EQ(MatchIn(**reader, keys), 100u);
  (*writer)->Remove(keys[40]);
  EXPECT_EQ(MatchIn(**reader, keys), 40u);
  EXPECT_FALSE(IsIn(**reader, "another"));
}

TEST(Presence, ATableThatIsOutgrownIsReplacedStepByStepAndSaysSo) {
  auto writer = PresenceWriter::Make(7);
  ASSERT_TRUE(writer);
  const auto first = (*writer)->table();
  const int slots = static_cast<int>(first->slots().size());
  int added = 0;
  for (; added <= slots / 2; ++added) (*writer)->Add(KeyOf(added));
  // It is half full, and for now another one is filled beside it.
  for (int step = 1; step < slots / 16; ++step) {
    ASSERT_EQ((*writer)->table(), first) << step;
    (*writer)->Add(KeyOf(added++));
    (*writer)->Remove(KeyOf(step));
  }
  EXPECT_EQ(first->header().superseded.load(), 1u);
  EXPECT_EQ((*writer)->TakeFormer(), first);
  EXPECT_EQ((*writer)->TakeFormer(), nullptr);
  const auto table = (*writer)->table();
  EXPECT_NE(table, first);
  EXPECT_EQ(table->header().superseded.load(), 0u);
  EXPECT_TRUE(IsIn(*table, KeyOf(0)));
  for (int i = 1; i < slots / 16; ++i) ASSERT_FALSE(IsIn(*table, KeyOf(i))) << i;
  for (int i = slots / 16; i < added; ++i) ASSERT_TRUE(IsIn(*table, KeyOf(i))) << i;
}

TEST(Presence, ATableHasWhatIsThereWhateverComesAndGoes) {
  auto writer = PresenceWriter::Make(7);
  ASSERT_TRUE(writer);
  std::mt19937 random(1);
  std::set<int> there;
  int tables = 1;
  for (int step = 0; step < 60'000; ++step) {
    const int key = static_cast<int>(random() % 30'000);
    if (random() % 3 == 0) {
      (*writer)->Remove(KeyOf(key));
      there.erase(key);
    } else {
      (*writer)->Add(KeyOf(key));
      there.insert(key);
    }
    tables += (*writer)->TakeFormer() ? 1 : 0;
    ASSERT_EQ(IsIn(*(*writer)->table(), KeyOf(key)), there.contains(key)) << step;
    const int other = static_cast<int>(random() % 30'000);
    ASSERT_EQ(IsIn(*(*writer)->table(), KeyOf(other)), there.contains(other)) << step;
  }
  EXPECT_GE(tables, 3);
}

TEST(Presence, ATableThatIsMadeForItsKeysNeedNotGrow) {
  auto writer = PresenceWriter::Make(7, 100'000);
  ASSERT_TRUE(writer);
  const auto first = (*writer)->table();
  for (int i = 0; i < 100'000; ++i) (*writer)->Add(KeyOf(i));
  EXPECT_EQ((*writer)->table(), first);
  EXPECT_TRUE(IsIn(*first, KeyOf(99'999)));
}

TEST(Presence, KeysThatComeAndGoForEverFillNothing) {
  auto writer = PresenceWriter::Make(7);
  ASSERT_TRUE(writer);
  for (int i = 0; i < 200'000; ++i) {
    (*writer)->Add(KeyOf(i));
    if (i >= 100) (*writer)->Remove(KeyOf(i - 100));
  }
  EXPECT_LE((*writer)->table()->slots().size(), 8192u);
  EXPECT_TRUE(IsIn(*(*writer)->table(), KeyOf(199'950)));
  EXPECT_FALSE(IsIn(*(*writer)->table(), KeyOf(199'000)));
}

TEST(Presence, WhoeverGetsTheTableCannotWriteThere) {
  auto writer = PresenceWriter::Make(7);
  ASSERT_TRUE(writer);
  const int fd = (*writer)->table()->fd();
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  EXPECT_NE(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
  EXPECT_NE(ftruncate(fd, 0), 0);
}

TEST(Records, ASpaceAndInformationComeBackAsTheyWent) {
  const SpaceSpec spec{.model = "m",
                       .layout = std::string(4096, 'x'),
                       .tenant_salt = "s",
                       .owner = "o",
                       .layers = 9};
  const auto decoded = DecodeSpace(*EncodeSpace(spec));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->layout, spec.layout);
  EXPECT_EQ(decoded->tenant_salt, "s");
  EXPECT_EQ(decoded->owner, "o");
  EXPECT_EQ(decoded->layers, 9u);
  EXPECT_FALSE(EncodeSpace({.model = std::string(4097, 'x')}));

  PoolInfo info{.name = "pool", .blocks = 5, .evictions = 7};
  info.devices.push_back({.name = "ssd", .kind = "file", .description = "path", .share = 0.25});
  info.devices[0].transfers_abandoned = 11;
  info.devices[0].state = DeviceState::kDrained;
  info.tenants = {{.name = std::string(64, 'n'),
                   .weight = 3,
                   .blocks = 1,
                   .block_bytes = 2,
                   .used_bytes = 3,
                   .quota_bytes = 4,
                   .evictions = 5,
                   .declined = 6,
                   .hits = 7,
                   .misses = 8}};
  info.gpus = {{.name = std::string(64, 'g'),
                .kind = "cuda",
                .identity = "GPU-" + std::string(36, 'u'),
                .description = "NVIDIA H200",
                .failure = "it fell off the bus"}};
  const auto back = DecodeInfo(EncodeInfo(info));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->tenants, info.tenants);
  EXPECT_EQ(back->gpus, info.gpus);
  auto cut = EncodeInfo(info);
  cut.pop_back();
  EXPECT_FALSE(DecodeInfo(cut));
  EXPECT_EQ(back->blocks, 5u);
  ASSERT_EQ(back->devices.size(), 1u);
  EXPECT_EQ(back->devices[0].description, "path");
  EXPECT_EQ(back->devices[0].transfers_abandoned, 11u);
  EXPECT_EQ(back->devices[0].share, 0.25);
  EXPECT_EQ(back->devices[0].state, DeviceState::kDrained);
}

class Rings : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kDepth = 4;
  void* memory_ = mmap(nullptr, ChannelLayout(kDepth).bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::span<std::byte> bytes_{static_cast<std::byte*>(memory_), ChannelLayout(kDepth).bytes};
  DaemonRing daemon_{bytes_, kDepth};
  ClientRing client_{bytes_, kDepth};
  ~Rings() override { munmap(memory_, bytes_.size()); }
};

TEST_F(Rings, CarryManyRequestsAroundInAnyOrder) {
  for (std::uint32_t round = 0; round < 100; ++round) {
    std::vector<std::uint64_t> taken;
    for (std::uint32_t i = 0; i < kDepth; ++i) {
      const auto slot = client_.TakeSlot();
      ASSERT_TRUE(slot);
      client_.Submit(*slot, {.kind = RequestKind::kPut, .ordinal = round * kDepth + i});
      Submission got;
      ASSERT_EQ(daemon_.Take(got), DaemonRing::Took::kSubmission);
      EXPECT_EQ(got.ordinal, round * kDepth + i);
      taken.push_back(got.id);
    }
    EXPECT_FALSE(client_.TakeSlot());
    for (; !taken.empty(); taken.pop_back()) {
      daemon_.Complete(taken.back(), Status::kNoSpace);
      const auto completion = client_.Collect();
      ASSERT_TRUE(completion);
      EXPECT_EQ(completion->id, taken.back());
      EXPECT_EQ(completion->status, static_cast<std::uint32_t>(Status::kNoSpace));
    }
  }
}

TEST_F(Rings, OnlyASleeperIsCalled) {
  EXPECT_FALSE(client_.Submit(*client_.TakeSlot(), {}));
  Submission got;
  ASSERT_EQ(daemon_.Take(got), DaemonRing::Took::kSubmission);
  EXPECT_TRUE(daemon_.GoToSleep());
  EXPECT_TRUE(client_.Submit(*client_.TakeSlot(), {}));
  EXPECT_FALSE(daemon_.GoToSleep());  // something came
  EXPECT_FALSE(daemon_.ClientSleeps());
  EXPECT_TRUE(client_.GoToSleep());
  daemon_.Complete(got.id, Status::kOk);
  EXPECT_TRUE(daemon_.ClientSleeps());
  EXPECT_FALSE(daemon_.ClientSleeps());  // once
  EXPECT_FALSE(client_.GoToSleep());
}

TEST(ArgumentsTest, WhatDoesNotFitItsRegionIsRefused) {
  const std::vector<Key> keys{"one", "", "three"};
  const std::vector<SegmentRecord> segments(
      6, SegmentRecord{.region = 3, .offset = 4096, .bytes = 77});
  const Arguments arguments{keys, "parent", segments};
  const auto layout = arguments.Layout();
  std::vector<std::byte> region(64 + layout.bytes);
  arguments.Encode(std::span(region).subspan(64));
  const Submission submission{
      .keys = 3, .segments = 6, .key_bytes = arguments.KeyBytes(), .arguments = 64};
  DecodedArguments decoded;
  ASSERT_TRUE(decoded.Decode(submission, region));
  EXPECT_THAT(decoded.keys(), ::testing::ElementsAre("one", "", "three"));
  EXPECT_EQ(decoded.parent(), "parent");
  EXPECT_EQ(decoded.segments()[5].bytes, 77u);
  EXPECT_FALSE(decoded.Decode(submission, std::span(region).first(region.size() - 1)));
}

}  // namespace
}  // namespace kvpool::ipc
