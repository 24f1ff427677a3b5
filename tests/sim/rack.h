// Rack: the places of a pool's devices, what stands in them, and what stood there before.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kvpool/config.h"
#include "tests/sim/drive.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

namespace kvpool::sim {

// It outlives the pools that open it. Threads: one.
class Rack {
 public:
  Rack(World& world, const Scenario& scenario);

  std::size_t size() const { return places_.size(); }
  SimDrive& drive(std::size_t place) const { return *places_[place].drive; }
  const DeviceConfig& config(std::size_t place) const { return places_[place].config; }
  // It is not in its place: a pool that opens has to do without it.
  bool away(std::size_t place) const { return places_[place].away; }
  std::uint64_t away_mask() const;

  // Between two pools: some drives go away, with what their caches had not written, and others come
  // back. One stays at least.
  void Change(double chance);
  // What is on it is not needed any more, and nobody may ask it for anything until the next Open.
  // `away`: it is taken out, and comes back with noise if at all.
  void Retire(std::size_t place, bool away);
  // Another drive stands in the place from now on.
  SimDrive& Replace(std::size_t place, const DriveSpec& spec, const DeviceConfig& config);

  // --- of all that stands or has stood there ---
  void Crash(bool power_cut);
  void LetGo();
  // What has been replaced lands what it still has, whether or not somebody polls.
  void LandFormer();
  bool Busy() const;
  // One of them keeps somebody waiting, and nobody has lost patience yet.
  bool Stalls() const;
  void Detach(const iovec& part);
  bool Reaches(std::span<const std::byte> memory) const;
  std::int64_t NextEndNs() const;

 private:
  struct Place {
    std::unique_ptr<SimDrive> drive;
    DeviceConfig config;
    bool away = false;
  };
  template <class Visit>
  void Each(Visit&& visit) const {
    for (const Place& place : places_) visit(*place.drive);
    for (const auto& drive : former_) visit(*drive);
  }

  World& world_;
  std::vector<Place> places_;
  std::vector<std::unique_ptr<SimDrive>> former_;
};

}  // namespace kvpool::sim
