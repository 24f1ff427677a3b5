#include "bench/probe/load.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "base/limits.h"
#include "bench/probe/measure.h"

namespace kvpool::probe {
namespace {

// Finishes everything at the next Poll; remembers what it was asked for.
class FakeDevice final : public device::Device {
 public:
  FakeDevice() {
    traits_.name = "fake";
    traits_.capacity_bytes = 64 * kMiB;
    traits_.max_io_bytes = kMiB;
    traits_.depth = 4;
    traits_.needs_polling = true;
    traits_.description = "a fake";
  }
  const device::Traits& traits() const override { return traits_; }
  Result<std::unique_ptr<device::Queue>> OpenQueue(const device::QueueOptions&) override {
    return std::make_unique<FakeQueue>(*this);
  }

  struct Asked {
    device::Op op;
    std::uint64_t offset;
    std::uint32_t bytes;
  };
  std::vector<Asked> asked;
  std::size_t most_in_flight = 0;
  std::size_t fail_from = SIZE_MAX;  // the n-th I/O and all later ones fail

 private:
  class FakeQueue final : public device::Queue {
   public:
    explicit FakeQueue(FakeDevice& owner) : owner_(owner) {}
    std::size_t Submit(std::span<device::Io* const> ios) override {
      std::size_t taken = 0;
      for (; taken < ios.size() && pending_.size() < owner_.traits_.depth; ++taken) {
        device::Io& io = *ios[taken];
        io.status = owner_.asked.size() >= owner_.fail_from ? Status::kIoError : Status::kOk;
        owner_.asked.push_back({io.op, io.offset, io.bytes});
        pending_.push_back(&io);
      }
      owner_.most_in_flight = std::max(owner_.most_in_flight, pending_.size());
      return taken;
    }
    std::size_t Poll(std::span<device::Io*> done) override {
      std::size_t count = 0;
      for (; count < done.size() && !pending_.empty(); pending_.pop_front()) {
        done[count++] = pending_.front();
      }
      return count;
    }
    void Cancel(device::Io&) override {}

   private:
    FakeDevice& owner_;
    std::deque<device::Io*> pending_;
  };

  device::Traits traits_;
};

class LoadTest : public testing::Test {
 protected:
  Result<LoadResult> Run(const Load& load) {
    auto runner = LoadRunner::Open(device_, buffer_);
    EXPECT_TRUE(runner);
    return (*runner)->Run(load, {});
  }
  static Load OnePass() {
    return {.bytes = 8 * kMiB, .io_bytes = kMiB, .depth = 4, .seconds = 60, .once = true};
  }

  FakeDevice device_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(4 * kMiB);
};

TEST_F(LoadTest, OnePassCoversTheAreaInOrderAtFullDepth) {
  Load load = OnePass();
  load.first_byte = 2 * kMiB;
  const auto result = Run(load);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->bytes, 8 * kMiB);
  EXPECT_EQ(result->latency_us.size(), 8u);
  EXPECT_EQ(device_.most_in_flight, 4u);
  ASSERT_EQ(device_.asked.size(), 8u);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(device_.asked[i].offset, (2 + i) * kMiB);
}

TEST_F(LoadTest, StopsByTheClockWhenItMayGoRound) {
  Load load = OnePass();
  load.once = false;
  load.seconds = 0.001;
  const auto result = Run(load);
  ASSERT_TRUE(result);
  EXPECT_GT(result->bytes, 0u);
  for (const auto& asked : device_.asked) EXPECT_LT(asked.offset, 8 * kMiB);
}

TEST_F(LoadTest, RandomOffsetsStayInTheAreaAndAligned) {
  Load load = OnePass();
  load.io_bytes = 4096;
  load.random_seed = 3;
  ASSERT_TRUE(Run(load));
  std::size_t in_order = 0;
  for (std::size_t i = 0; i < device_.asked.size(); ++i) {
    EXPECT_EQ(device_.asked[i].offset % 4096, 0u);
    EXPECT_LE(device_.asked[i].offset + 4096, 8 * kMiB);
    in_order += device_.asked[i].offset == i * 4096 ? 1 : 0;
  }
  EXPECT_LT(in_order, device_.asked.size() / 2);
}

TEST_F(LoadTest, AFailingIoEndsTheLoadWithTheDevicesName) {
  device_.fail_from = 2;
  const auto result = Run(OnePass());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().status, Status::kIoError);
  EXPECT_NE(result.error().message.find("fake"), std::string::npos);
}

TEST_F(LoadTest, ADeviceIsWrittenBeforeItIsReadAndOnlyWhereItWasWritten) {
  const auto measured = MeasureDevice(device_, {.seconds = 0.001, .bytes = 8 * kMiB});
  ASSERT_TRUE(measured);
  EXPECT_GT(measured->write_bytes_per_s, 0);
  EXPECT_GT(measured->read_bytes_per_s, 0);
  std::uint64_t written_end = 0;
  for (const auto& asked : device_.asked) {
    if (asked.op == device::Op::kWrite) {
      written_end = std::max(written_end, asked.offset + asked.bytes);
    } else {
      EXPECT_LE(asked.offset + asked.bytes, written_end);
    }
  }
}

TEST_F(LoadTest, NothingIsWrittenWhereThatIsOff) {
  const auto measured =
      MeasureDevice(device_, {.seconds = 0.001, .bytes = 8 * kMiB, .write = false});
  ASSERT_TRUE(measured);
  EXPECT_EQ(measured->write_bytes_per_s, 0);
  EXPECT_TRUE(std::all_of(device_.asked.begin(), device_.asked.end(),
                          [](const auto& asked) { return asked.op == device::Op::kRead; }));
}

}  // namespace
}  // namespace kvpool::probe
