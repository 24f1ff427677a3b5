#include "tests/sim/drive.h"

#include <algorithm>

#include "base/limits.h"
#include "tests/sim/queue.h"

namespace kvpool::sim {

class SimDevice final : public device::Device {
 public:
  explicit SimDevice(SimDrive& drive) : drive_(drive) {}

  const device::Traits& traits() const override { return drive_.traits_; }
  Result<std::unique_ptr<device::Queue>> OpenQueue(const device::QueueOptions&) override {
    return std::make_unique<SimQueue>(drive_);
  }
  std::byte* Map(std::uint64_t offset) override {
    return drive_.spec_.memory ? drive_.media_.data() + offset : nullptr;
  }

 private:
  SimDrive& drive_;
};

SimDrive::SimDrive(World& world, DriveSpec spec)
    : world_(world), spec_(std::move(spec)), media_(spec_.capacity_bytes, !spec_.memory) {
  traits_.name = spec_.name;
  traits_.kind = spec_.memory ? "memory" : "file";
  traits_.description = "made up";
  traits_.capacity_bytes = spec_.capacity_bytes;
  traits_.alignment = spec_.memory ? 1 : kIoAlignment;
  traits_.max_io_bytes = kMaxUnitBytes;
  traits_.max_segments = spec_.max_segments;
  traits_.depth = spec_.depth;
  traits_.late_by_address = spec_.late_by_address;
  traits_.mapped = traits_.volatile_bytes = spec_.memory;
}

std::unique_ptr<device::Device> SimDrive::Open() {
  vanished_ = retired_ = false;
  busy_until_ns_ = storm_until_ns_ = 0;
  return std::make_unique<SimDevice>(*this);
}

void SimDrive::Crash(bool power_cut) {
  for (SimQueue* queue : queues_) queue->Crash();
  if (spec_.memory) {
    media_.Spoil(world_.random);
  } else if (power_cut) {
    media_.PowerCut(world_.random);
  }
}

void SimDrive::Spoil() { media_.Spoil(world_.random); }

void SimDrive::Land() {
  for (SimQueue* queue : queues_) queue->LandDue();
}

bool SimDrive::Reaches(std::span<const std::byte> memory) const {
  return std::any_of(queues_.begin(), queues_.end(),
                     [&](const SimQueue* one) { return one->Reaches(memory); });
}

void SimDrive::LetGo() {
  for (SimQueue* queue : queues_) queue->LetGo();
}

bool SimDrive::Busy() const {
  return std::any_of(queues_.begin(), queues_.end(),
                     [](const SimQueue* one) { return one->Busy(); });
}

bool SimDrive::Stalls() const {
  return std::any_of(queues_.begin(), queues_.end(),
                     [](const SimQueue* one) { return one->Stalls(); });
}

void SimDrive::Detach(const iovec& part) {
  for (SimQueue* queue : queues_) queue->Detach(part);
}

std::int64_t SimDrive::NextEndNs() const {
  std::int64_t next_ns = World::kNever;
  for (const SimQueue* queue : queues_) next_ns = std::min(next_ns, queue->NextPollNs());
  return next_ns;
}

}  // namespace kvpool::sim
