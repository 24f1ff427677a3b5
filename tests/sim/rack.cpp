#include "tests/sim/rack.h"

#include <algorithm>
#include <utility>

namespace kvpool::sim {

Rack::Rack(World& world, const Scenario& scenario) : world_(world) {
  for (std::size_t i = 0; i < scenario.drives.size(); ++i) {
    places_.push_back(
        {std::make_unique<SimDrive>(world, scenario.drives[i]), scenario.config.devices[i], false});
  }
}

std::uint64_t Rack::away_mask() const {
  std::uint64_t mask = 0;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    if (places_[i].away) mask |= std::uint64_t{1} << i;
  }
  return mask;
}

void Rack::Change(double chance) {
  const auto stays = [](const Place& place) { return !place.away && !place.drive->spec().memory; };
  for (Place& place : places_) {
    if (place.away && world_.random.Chance(0.6)) place.away = false;
  }
  for (Place& place : places_) {
    if (!stays(place) || !world_.random.Chance(chance)) continue;
    if (std::count_if(places_.begin(), places_.end(), stays) < 2) continue;
    place.away = true;
    place.drive->Crash(true);
  }
  world_.Note("the rack lacks {}", away_mask());
}

void Rack::Retire(std::size_t place, bool away) {
  places_[place].drive->Retire();
  if (!away) return;
  places_[place].drive->Spoil();
  places_[place].away = true;
}

SimDrive& Rack::Replace(std::size_t place, const DriveSpec& spec, const DeviceConfig& config) {
  former_.push_back(std::exchange(places_[place].drive, std::make_unique<SimDrive>(world_, spec)));
  former_.back()->Retire();
  places_[place].config = config;
  places_[place].away = false;
  return *places_[place].drive;
}

void Rack::Crash(bool power_cut) {
  Each([&](SimDrive& drive) { drive.Crash(power_cut); });
}

void Rack::LetGo() {
  Each([](SimDrive& drive) { drive.LetGo(); });
}

void Rack::LandFormer() {
  for (const auto& drive : former_) drive->Land();
}

bool Rack::Busy() const {
  bool busy = false;
  Each([&](const SimDrive& drive) { busy |= drive.Busy(); });
  return busy;
}

bool Rack::Stalls() const {
  bool stalls = false;
  Each([&](const SimDrive& drive) { stalls |= drive.Stalls(); });
  return stalls;
}

void Rack::Detach(const iovec& part) {
  Each([&](SimDrive& drive) { drive.Detach(part); });
}

bool Rack::Reaches(std::span<const std::byte> memory) const {
  bool reaches = false;
  Each([&](const SimDrive& drive) { reaches |= drive.Reaches(memory); });
  return reaches;
}

std::int64_t Rack::NextEndNs() const {
  std::int64_t next_ns = World::kNever;
  Each([&](const SimDrive& drive) { next_ns = std::min(next_ns, drive.NextEndNs()); });
  return next_ns;
}

}  // namespace kvpool::sim
