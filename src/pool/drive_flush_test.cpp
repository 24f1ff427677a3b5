#include "pool/drive_flush.h"

#include <gtest/gtest.h>

namespace kvpool::pool {
namespace {

// Gives flushes back when told to, with the status it is told.
class Drive final : public device::Device {
 public:
  const device::Traits& traits() const override { return traits_; }
  Result<std::unique_ptr<device::Queue>> OpenQueue(const device::QueueOptions&) override {
    return std::make_unique<DriveQueue>(*this);
  }

  bool ready = false;
  Status status = Status::kOk;
  int cancels = 0;

 private:
  class DriveQueue final : public device::Queue {
   public:
    explicit DriveQueue(Drive& drive) : drive_(drive) {}
    std::size_t Submit(std::span<device::Io* const> ios) override {
      io_ = ios[0];
      return 1;
    }
    std::size_t Poll(std::span<device::Io*> done) override {
      if (!drive_.ready) return 0;
      done[0] = io_;
      io_->status = drive_.status;
      return 1;
    }
    void Cancel(device::Io&) override { ++drive_.cancels; }

   private:
    Drive& drive_;
    device::Io* io_ = nullptr;
  };

  device::Traits traits_;
};

class DriveFlushTest : public testing::Test {
 protected:
  DriveFlushTest() {
    auto drive = std::make_unique<Drive>();
    drive_ = drive.get();
    slot_.device = std::move(drive);
    slot_.bytes_written = 4096;
  }
  DeviceSlot slot_{
      DeviceConfig{.name = "drive", .read_bytes_per_s = 1e9, .write_bytes_per_s = 1e9}};
  Drive* drive_ = nullptr;
};

TEST_F(DriveFlushTest, CoversWhatWasWrittenWhenItBegan) {
  DriveFlush flush(slot_, 0, -1);
  slot_.bytes_written = 8192;
  EXPECT_FALSE(flush.Step(1));
  drive_->ready = true;
  EXPECT_TRUE(flush.Step(2));
  EXPECT_EQ(flush.status(), Status::kOk);
  EXPECT_EQ(slot_.bytes_flushed.load(), 4096u);
}

TEST_F(DriveFlushTest, AFailedFlushCoversNothing) {
  drive_->ready = true;
  drive_->status = Status::kIoError;
  DriveFlush flush(slot_, 0, -1);
  EXPECT_TRUE(flush.Step(1));
  EXPECT_EQ(flush.status(), Status::kIoError);
  EXPECT_EQ(slot_.bytes_flushed.load(), 0u);
}

TEST_F(DriveFlushTest, ADriveThatNeverAnswersIsGivenUp) {
  DriveFlush flush(slot_, 0, -1);
  EXPECT_EQ(flush.NextStepNs(), DriveFlush::kFlushPatienceNs);
  EXPECT_FALSE(flush.Step(DriveFlush::kFlushPatienceNs));
  EXPECT_EQ(drive_->cancels, 1);
  EXPECT_FALSE(flush.Step(DriveFlush::kFlushPatienceNs + 1));
  EXPECT_EQ(drive_->cancels, 1);
  EXPECT_TRUE(flush.Step(DriveFlush::kFlushPatienceNs + DriveFlush::kGraceNs));
  EXPECT_EQ(flush.status(), Status::kIoError);
  EXPECT_TRUE(flush.held());
  drive_->ready = true;  // and it may answer after all
  EXPECT_TRUE(flush.Step(DriveFlush::kFlushPatienceNs + DriveFlush::kGraceNs + 1));
  EXPECT_FALSE(flush.held());
}

}  // namespace
}  // namespace kvpool::pool
