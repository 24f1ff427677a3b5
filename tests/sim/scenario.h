// Scenario: what one seed draws: drives, faults, spaces, clients, and when it crashes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kvpool/config.h"
#include "kvpool/key.h"
#include "tests/sim/drive.h"

namespace kvpool::sim {

struct SimOptions {
  bool verbose = false;
};

struct ClientPlan {
  bool caller_driven = false;
  std::uint32_t most_in_flight = 1;
  double puts = 0;  // weights of what it submits; gets make up the rest
  double drops = 0;
  double flushes = 0;
  double durable = 0;  // of puts
  double leases = 0;   // of gets
  std::int64_t think_ns = 0;
  double background = 0;  // of puts and gets
  std::uint32_t tenant = 0;
  std::uint64_t client = 0;
};

// What is done to the devices.
struct CarePlan {
  double removes = 0;    // chances, each time that somebody looks at a device
  double replaces = 0;   // of one that is drained or removed
  double takes_out = 0;  // of a drive that was removed
  std::int64_t think_ns = 0;

  bool any() const { return removes > 0 || replaces > 0; }
};

struct Scenario {
  Config config;
  std::vector<DriveSpec> drives;
  std::vector<SpaceSpec> spaces;
  std::vector<ClientPlan> clients;
  CarePlan care;
  double absences = 0;       // of a drive, between two pools
  double stays = 0;          // of a get's memory not to be detachable
  bool others_stay = false;  // nor is any memory that is no client's
  bool catalog = true;
  bool real_catalog = false;  // SQLite's
  double catalog_error = 0;
  std::uint32_t staging_buffers = 1;  // a lane
  std::uint32_t keys = 1;
  std::vector<std::uint32_t> block_bytes;  // what a block may have
  std::int64_t deadline_ns = 0;            // about, of a request
  std::uint32_t lives = 1;                 // pools, one after the other
  std::uint32_t requests = 1;              // a life
};

Scenario DrawScenario(Random& random);
// A drive to put in the place of `former`.
DriveSpec DrawSpare(Random& random, const Scenario& scenario, const DriveSpec& former);
// What a pool file says of it.
DeviceConfig DrawDeviceConfig(Random& random, const DriveSpec& spec);

}  // namespace kvpool::sim
