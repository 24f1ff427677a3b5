// Caretaker: who removes and replaces devices of a running pool, and holds it to its promises.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kvpool/result.h"
#include "pool/device_change.h"
#include "tests/sim/client.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

namespace kvpool::sim {

// Threads: one.
class Caretaker {
 public:
  Caretaker(Setting& setting, const CarePlan& plan)
      : setting_(setting), world_(setting.world), plan_(plan) {}

  // Begins something if it is time. True when it did.
  bool Act();
  // Moves on with what was begun. True when it ended.
  bool Step();
  std::int64_t NextNs() const;
  bool Idle() const { return removal_ == nullptr && replacement_ == nullptr; }

  // Begins to remove the device. `surely`: nothing stands in the way of its success. False: the
  // pool refuses, and is right.
  bool Remove(std::size_t place, bool surely);

  // Of PoolParts: what another drive in a place comes to.
  Result<std::unique_ptr<device::Device>> MakeDrive(std::size_t place, const DeviceConfig& config);

 private:
  void Replace(std::size_t place, DeviceState state);
  void EndRemoval(const Result<void>& result);
  void EndReplacement(const Result<void>& result);
  void CheckEmpty();
  void CheckRecorded();
  void Fail(const std::string& text);

  Setting& setting_;
  World& world_;
  const CarePlan& plan_;
  std::int64_t next_act_ns_ = 0;
  std::unique_ptr<pool::DeviceRemoval> removal_;
  std::unique_ptr<pool::DeviceReplacement> replacement_;
  std::size_t place_ = 0;                       // of what is under way
  bool surely_ = false;                         // it has to succeed
  std::uint64_t troubles_ = 0;                  // the world's, when it began
  DeviceState before_ = DeviceState::kServing;  // a replacement: of what stood there
  DriveSpec spare_;                             // the drive that comes
};

}  // namespace kvpool::sim
