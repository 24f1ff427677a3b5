#include "tests/sim/scenario.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/limits.h"

namespace kvpool::sim {
namespace {

// Faults that a drive may have are had by some drives only, and each at a rate of its own.
Faults DrawFaults(Random& random) {
  Faults faults;
  const auto draw = [&](double& fault, double share, double least, double most) {
    if (random.Chance(share)) fault = least + (most - least) * random.Unit() * random.Unit();
  };
  draw(faults.read_error, 0.3, 0.001, 0.05);
  draw(faults.write_error, 0.3, 0.001, 0.05);
  draw(faults.flush_error, 0.2, 0.01, 0.3);
  draw(faults.storm, 0.2, 0.001, 0.02);
  draw(faults.hang, 0.2, 0.001, 0.03);
  draw(faults.vanish, 0.05, 0.0005, 0.01);
  draw(faults.flip_read, 0.2, 0.001, 0.05);
  draw(faults.late, 0.2, 0.001, 0.03);
  return faults;
}

// What loses stored bytes behind the pool's back: then only wrong bytes are forbidden.
void DrawLosses(Random& random, Faults& faults) {
  const auto draw = [&](double& fault, double share) {
    if (random.Chance(share)) fault = 0.001 + 0.05 * random.Unit();
  };
  draw(faults.torn, 0.4);
  draw(faults.misdirected, 0.4);
  draw(faults.flip_write, 0.4);
  faults.lying_flush = random.Chance(0.3);
}

DriveSpec DrawDrive(Random& random, bool memory, std::size_t index) {
  DriveSpec spec;
  spec.memory = memory;
  spec.name = fmt::format("{}{}", memory ? "memory" : "drive", index);
  spec.capacity_bytes = random.Between(1, memory ? 2 : 4) * kSlabBytes;
  spec.depth = static_cast<std::uint32_t>(random.Between(1, 8));
  spec.max_segments = static_cast<std::uint32_t>(random.Between(2, 32));
  spec.late_by_address = !memory && random.Chance(0.3);
  spec.latency_ns = memory ? 1'000 : static_cast<std::int64_t>(random.Logarithmic(5'000, 500'000));
  spec.bytes_per_s = static_cast<double>(random.Logarithmic(5e7, memory ? 2e10 : 5e9));
  return spec;
}

void DrawDrives(Random& random, Scenario& scenario) {
  const std::uint64_t memories = random.Chance(0.6) ? random.Between(1, 2) : 0;
  const std::uint64_t drives = random.Chance(0.05) && memories > 0 ? 0 : random.Between(1, 4);
  const bool faulty = random.Chance(0.7);
  const bool lossy = random.Chance(0.35);
  for (std::size_t i = 0; i < memories + drives; ++i) {
    DriveSpec spec = DrawDrive(random, i < memories, i);
    if (faulty && !spec.memory && random.Chance(0.7)) spec.faults = DrawFaults(random);
    if (faulty && spec.memory && random.Chance(0.3)) {
      spec.faults.read_error = 0.03 * random.Unit();
      spec.faults.flip_read = 0.03 * random.Unit();
    }
    if (lossy && !spec.memory && random.Chance(0.6)) DrawLosses(random, spec.faults);
    scenario.drives.push_back(spec);
  }
}

}  // namespace

DeviceConfig DrawDeviceConfig(Random& random, const DriveSpec& spec) {
  DeviceConfig device;
  device.name = spec.name;
  device.kind = spec.memory ? DeviceKind::kMemory : DeviceKind::kFile;
  if (!spec.memory) device.path = "simulated/" + spec.name;
  device.capacity_bytes = spec.capacity_bytes;
  // What is configured need not be what is so.
  device.read_bytes_per_s = spec.bytes_per_s * (0.5 + random.Unit());
  device.write_bytes_per_s = spec.bytes_per_s * (0.5 + random.Unit());
  return device;
}

DriveSpec DrawSpare(Random& random, const Scenario& scenario, const DriveSpec& former) {
  DriveSpec spec = DrawDrive(random, false, 0);
  // The pool file's links name their devices.
  spec.name = scenario.config.links.empty() ? former.name + "b" : former.name;
  spec.lets_go = former.lets_go;
  if (random.Chance(0.3)) spec.faults = DrawFaults(random);
  return spec;
}

namespace {

void DrawConfig(Random& random, Scenario& scenario) {
  Config& config = scenario.config;
  config.name = "simulated";
  config.unit_bytes = (32 * kKiB) << random.Below(6);
  constexpr std::array<const char*, 5> kPolicies{"default", "default", "lru", "s3fifo", "arc"};
  config.policy = kPolicies[random.Below(kPolicies.size())];
  config.placement = random.Chance(0.2) ? Placement::kEqual : Placement::kBandwidth;
  config.lanes = static_cast<std::uint32_t>(random.Between(1, 4));
  for (const DriveSpec& spec : scenario.drives) {
    config.devices.push_back(DrawDeviceConfig(random, spec));
  }
  if (scenario.drives.size() > 1 && random.Chance(0.2)) {
    config.links.push_back({"link",
                            static_cast<double>(random.Logarithmic(1e8, 5e9)),
                            {scenario.drives[0].name, scenario.drives[1].name}});
  }
}

void DrawSpaces(Random& random, Scenario& scenario) {
  for (std::uint64_t i = random.Between(1, 3); i > 0; --i) {
    SpaceSpec spec;
    spec.model = "m";
    spec.rank = fmt::format("{}", i);
    spec.layers = static_cast<std::uint32_t>(1) << random.Below(4);
    scenario.spaces.push_back(spec);
  }
  scenario.keys = static_cast<std::uint32_t>(random.Logarithmic(6, 80));
  for (std::uint64_t i = random.Between(1, 3); i > 0; --i) {
    const double most = random.Chance(0.15) ? 400'000 : 70'000;
    scenario.block_bytes.push_back(static_cast<std::uint32_t>(random.Logarithmic(1'000, most)));
    if (random.Chance(0.5)) {
      std::uint32_t& bytes = scenario.block_bytes.back();
      bytes = std::max<std::uint32_t>(kIoAlignment, bytes / kIoAlignment * kIoAlignment);
    }
  }
}

// Transfers that land after their requests' deadlines, and before the drive is given up for it.
void DrawLateness(Random& random, Scenario& scenario) {
  scenario.deadline_ns = static_cast<std::int64_t>(random.Logarithmic(3, 60)) * kMs;
  for (DriveSpec& spec : scenario.drives) {
    if (!spec.memory && random.Chance(0.7)) spec.faults.late = 0.02 + 0.2 * random.Unit();
  }
}

void DrawClients(Random& random, Scenario& scenario) {
  for (std::uint64_t i = random.Between(1, 4); i > 0; --i) {
    ClientPlan plan;
    plan.caller_driven = random.Chance(0.25);
    plan.most_in_flight = static_cast<std::uint32_t>(random.Between(1, 6));
    plan.puts = 0.2 + 0.5 * random.Unit();
    plan.drops = random.Chance(0.5) ? 0.15 * random.Unit() : 0;
    plan.flushes = random.Chance(0.5) ? 0.1 * random.Unit() : 0;
    plan.durable = random.Chance(0.5) ? random.Unit() : 0;
    plan.leases = random.Chance(0.5) ? random.Unit() : 0;
    plan.background = random.Chance(0.5) ? random.Unit() : 0;
    plan.tenant = static_cast<std::uint32_t>(random.Below(3));
    plan.client = random.Below(3);
    plan.think_ns = static_cast<std::int64_t>(random.Logarithmic(1'000, 20'000'000));
    scenario.clients.push_back(plan);
  }
}

void DrawCare(Random& random, Scenario& scenario) {
  CarePlan& care = scenario.care;
  if (random.Chance(0.3)) {
    care.removes = random.Unit();
    care.takes_out = random.Unit();
  }
  if (random.Chance(0.3)) care.replaces = random.Unit();
  care.think_ns = static_cast<std::int64_t>(random.Logarithmic(1'000'000, 1'000'000'000));
  if (random.Chance(0.25)) scenario.absences = 0.6 * random.Unit();
}

void DrawStaying(Random& random, Scenario& scenario) {
  scenario.stays = random.Chance(0.5) ? 1 : random.Unit();
  scenario.others_stay = random.Chance(0.5);
  // Who waits for a drive has to see an end of it.
  for (DriveSpec& spec : scenario.drives) spec.lets_go = true;
}

void DrawTenants(Random& random, Scenario& scenario) {
  for (std::size_t i = random.Between(1, 3); i > 0; --i) {
    TenantConfig tenant;
    tenant.name = fmt::format("t{}", i);
    tenant.users = {fmt::format("{}", i)};
    tenant.weight = static_cast<std::uint32_t>(random.Between(1, 4));
    if (random.Chance(0.8)) tenant.quota_bytes = random.Logarithmic(kSlabBytes, 6e6);
    scenario.config.tenants.push_back(tenant);
  }
  for (SpaceSpec& spec : scenario.spaces) {
    if (random.Chance(0.2)) continue;  // of none
    spec.owner = scenario.config.tenants[random.Below(scenario.config.tenants.size())].name;
  }
}

}  // namespace

Scenario DrawScenario(Random& random) {
  Scenario scenario;
  DrawDrives(random, scenario);
  DrawConfig(random, scenario);
  DrawSpaces(random, scenario);
  DrawClients(random, scenario);
  scenario.catalog = random.Chance(0.95);
  scenario.real_catalog = random.Chance(0.02);
  if (random.Chance(0.15)) scenario.catalog_error = 0.3 * random.Unit();
  scenario.staging_buffers = static_cast<std::uint32_t>(random.Between(1, 6));
  scenario.deadline_ns = static_cast<std::int64_t>(random.Logarithmic(5, 5'000)) * kMs;
  if (random.Chance(0.15)) DrawLateness(random, scenario);
  scenario.config.deadline = std::chrono::milliseconds(scenario.deadline_ns / kMs + 1);
  DrawCare(random, scenario);
  if (random.Chance(0.15)) DrawStaying(random, scenario);
  scenario.lives = static_cast<std::uint32_t>(random.Between(1, 4));
  scenario.requests = static_cast<std::uint32_t>(random.Between(10, 80));
  if (random.Chance(0.3)) DrawTenants(random, scenario);
  return scenario;
}

}  // namespace kvpool::sim
