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
};

struct Scenario {
  Config config;
  std::vector<DriveSpec> drives;
  std::vector<SpaceSpec> spaces;
  std::vector<ClientPlan> clients;
  bool catalog = true;
  bool real_catalog = false;  // SQLite's
  double catalog_error = 0;
  std::uint32_t staging_buffers = 1;  // a lane
  std::uint32_t keys = 1;
  std::vector<std::uint32_t> block_bytes;  // what a block may have
  std::int64_t deadline_ns = 0;            // about, of a request
  std::uint32_t lives = 1;                 // pools, one after the other
  std::uint32_t requests = 1;              // a life

  std::uint64_t MemoryBytes() const;
  std::uint64_t DriveBytes() const;
};

Scenario DrawScenario(Random& random);

}  // namespace kvpool::sim
