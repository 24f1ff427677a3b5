// SimQueue: a queue on a made-up drive. Each I/O has a fate, drawn when it is submitted.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "device/device.h"
#include "tests/sim/drive.h"

namespace kvpool::sim {

// Bytes move when an I/O ends, or when it is submitted, or half of them at either: whoever looks
// at a buffer, or writes it, before Poll has handed the I/O back does so at his own risk.
// Threads: one.
class SimQueue final : public device::Queue {
 public:
  explicit SimQueue(SimDrive& drive);
  ~SimQueue() override;

  std::size_t Submit(std::span<device::Io* const> ios) override;
  std::size_t Poll(std::span<device::Io*> done) override;
  void Cancel(device::Io& io) override;
  std::int64_t NextPollNs() const override;

  bool HoldsPages(const device::Io& io) const override;

  void Crash();
  void LetGo();
  void LandDue();
  bool Busy() const;
  bool Stalls() const;
  bool Reaches(std::span<const std::byte> memory) const;
  void Detach(const iovec& part);

 private:
  enum class Fate : std::uint8_t { kGood, kError, kFlip, kTorn, kMisdirected, kHang, kLate };
  struct Flight {
    device::Io* io = nullptr;
    Fate fate = Fate::kGood;
    bool cancelled = false;
    bool severed = false;      // nothing of it reaches memory or media any more
    bool detached = false;     // ... or memory
    bool landed = false;       // all of it that will, and its status is set
    std::uint64_t epoch = 0;   // of a flush
    std::uint64_t number = 0;  // in order of submission
    std::int64_t due_ns = 0;
    std::vector<std::byte> early;  // a write's bytes, taken when it was submitted
  };

  Fate DrawFate(const device::Io& io);
  std::int64_t DrawDue(const device::Io& io, Fate fate);
  void CheckOverlap(const device::Io& io);
  void End(Flight& flight);
  void LandOnce(Flight& flight);
  Status Land(Flight& flight);
  Status Read(Flight& flight);
  Status Write(Flight& flight);
  Status Flush(const Flight& flight);
  std::span<const std::byte> BytesOf(Flight& flight);

  SimDrive& drive_;
  World& world_;
  std::vector<Flight> flights_;
  std::vector<std::byte> scratch_;
};

}  // namespace kvpool::sim
