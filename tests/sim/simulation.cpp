#include "tests/sim/simulation.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/limits.h"

namespace kvpool::sim {
namespace {

// Turns without an end: nothing that ends at all takes as many.
constexpr int kMostTurns = 200'000;

std::string KeyName(Random& random, std::uint32_t key) {
  std::string name = fmt::format("key {}", key);
  if (random.Chance(0.1)) name.resize(random.Between(name.size(), kMaxKeyBytes), '.');
  return name;
}

}  // namespace

Simulation::Simulation(std::uint64_t seed, const SimOptions& options)
    : seed_(seed),
      world_(seed, options.verbose),
      scenario_(DrawScenario(world_.random)),
      oracle_(seed),
      rack_(world_, scenario_),
      dormant_(oracle_, rack_),
      assembly_(world_, scenario_, rack_, dormant_) {
  const auto spaces = static_cast<std::uint32_t>(scenario_.spaces.size());
  for (std::uint32_t key = 0; key < scenario_.keys; ++key) {
    oracle_.AddKey(key % spaces, KeyName(world_.random, key));
  }
  checker_plan_.most_in_flight = 1;
}

Simulation::~Simulation() { ClearAway(); }

Outcome Simulation::Run() {
  for (std::uint32_t life = 0; life < scenario_.lives && world_.failed().empty(); ++life) {
    world_.Note("life {} begins", life);
    if (life > 0 && scenario_.absences > 0) rack_.Change(scenario_.absences);
    Live(life + 1 == scenario_.lives);
  }
  return {requests_, crashes_, world_.digest(), world_.failed()};
}

void Simulation::Live(bool last) {
  PlanCrash(last);
  Open();
  if (Restored()) Work();
  if (!Over() && Quiesce()) Audit(false);
  const bool clean = !Over();
  if (clean && last) {
    RemoveAll();
    DropAll();
    Audit(true);
  }
  if (clean) StopPool();
  ClearAway();
}

void Simulation::PlanCrash(bool last) {
  const bool crashes = !last && world_.random.Chance(0.8);
  power_cut_ = world_.random.Chance(0.5);
  const std::uint64_t after =
      crashes ? world_.random.Logarithmic(1, 30.0 * scenario_.requests) : ~std::uint64_t{0};
  world_.PlanCrash(after, [this] {
    world_.Note("the process dies, power cut {}", static_cast<int>(power_cut_));
    ++crashes_;
    rack_.Crash(power_cut_);
  });
}

void Simulation::Open() {
  pool_ = assembly_.Open([this](std::size_t place, const DeviceConfig& config, std::uint64_t) {
    return caretaker_->MakeDrive(place, config);
  });
  quotas_.Begin(*pool_);
  setting_.reset(
      new Setting{world_, oracle_, scenario_, *pool_, rack_, dormant_, assembly_.catalog(), {}, 0});
  caretaker_ = std::make_unique<Caretaker>(*setting_, scenario_.care);
  for (const SpaceSpec& spec : scenario_.spaces) {
    setting_->spaces.push_back(pool_->OpenSpace(spec).value());
  }
  for (const ClientPlan& plan : scenario_.clients) {
    auto channel = pool_
                       ->OpenChannel({.caller_driven = plan.caller_driven,
                                      .tenant = plan.tenant,
                                      .tenant_weight = 1 + 2 * plan.tenant,
                                      .client = plan.client})
                       .value();
    clients_.push_back(std::make_unique<Client>(*setting_, plan, std::move(channel)));
  }
  checker_ = std::make_unique<Client>(*setting_, checker_plan_, pool_->OpenChannel({}).value());
}

bool Simulation::Present(std::uint32_t key) const {
  const KeyRecord& record = oracle_.key(key);
  const Key name = record.name;
  bool present = false;
  pool_->Contains(setting_->spaces[record.space], {&name, 1}, {&present, 1});
  return present;
}

// What has to be there after a restart is, and nothing else than what may be. False: it is over.
bool Simulation::Restored() {
  for (std::uint32_t key = 0; key < oracle_.size() && !Over(); ++key) {
    if (oracle_.Required(key) && !Present(key)) {
      world_.Fail(Failure::kOther, fmt::format("key {} was durable, and is gone", key));
    }
  }
  for (std::uint32_t key = 0; key < oracle_.size() && !Over(); ++key) CheckRestored(key);
  return !Over();
}

void Simulation::CheckRestored(std::uint32_t key) {
  if (!Present(key)) {
    // It may be back with the drives that are away.
    if (rack_.away_mask() == 0) oracle_.Found(key, std::nullopt);
    return;
  }
  const std::uint64_t troubles = world_.troubles;
  std::vector<Status> statuses;
  std::uint32_t found = ~0u;
  checker_->Read({&key, 1}, statuses, &found);
  if (!TurnUntil([&] { return checker_->Idle(); }, "a get after the restart")) return;
  if (statuses.empty() || statuses[0] == Status::kTimedOut) return;
  if (statuses[0] == Status::kOk) return oracle_.Found(key, found);
  if (statuses[0] == Status::kInvalid) return;
  if (oracle_.Required(key) && troubles == world_.troubles && NoneDrained(*setting_)) {
    world_.Fail(Failure::kOther, fmt::format("key {} was durable, and cannot be read", key));
  }
  oracle_.Found(key, std::nullopt);
}

void Simulation::Work() {
  while (!Over() && setting_->requests < scenario_.requests) {
    if (!Turn(true)) PassTime();
  }
}

// One round of clients and parts, in an order that chance decides. True when anything moved.
bool Simulation::Turn(bool act) {
  Random& random = world_.random;
  const std::uint64_t before = world_.events();
  bool moved = false;
  const std::size_t parts = pool_->parts();
  const std::size_t first = random.Below(parts);
  // Who is passed over may have something to do: then time stands still.
  const auto passed_over = [&] {
    const bool passed = random.Chance(0.1);
    moved |= passed;
    return passed;
  };
  for (std::size_t i = 0; i < parts; ++i) {
    if (!passed_over()) moved |= pool_->StepPart((first + i) % parts);
    world_.Event();
  }
  for (const auto& client : clients_) {
    if (act && !world_.crashed()) moved |= client->Act();
    if (!passed_over()) moved |= client->Collect();
  }
  moved |= checker_->Collect();
  if (act && !world_.crashed()) moved |= caretaker_->Act();
  moved |= caretaker_->Step();
  rack_.LandFormer();
  quotas_.Look(*pool_, world_);
  return moved || world_.events() != before + parts;
}

// To the next time at which something is bound to happen.
void Simulation::PassTime() {
  const std::int64_t now = world_.now();
  std::int64_t next = now + 50 * kMs;
  const auto consider = [&](std::int64_t time) {
    if (time > now) next = std::min(next, time);
  };
  consider(pool_->NextStepNs());
  consider(rack_.NextEndNs());
  for (const auto& client : clients_) consider(client->NextNs());
  consider(checker_->NextNs());
  consider(caretaker_->NextNs());
  world_.clock.Advance(next - now);
}

template <class Done>
bool Simulation::TurnUntil(Done&& done, const char* what) {
  for (int turn = 0; !done(); ++turn) {
    if (Over()) return false;
    if (turn == kMostTurns) {
      world_.Fail(Failure::kHang, fmt::format("{} does not end", what));
      return false;
    }
    if (!Turn(false)) PassTime();
  }
  return !Over();
}

bool Simulation::Quiesce() {
  const auto rests = [&] {
    return pool_->Idle() && caretaker_->Idle() &&
           std::all_of(clients_.begin(), clients_.end(),
                       [](const auto& client) { return client->Idle(); });
  };
  if (!TurnUntil(rests, "work")) return false;
  // Slots that late writes hold come back with them, and the recorder frees them.
  rack_.LetGo();
  const auto gave_back = [&] { return !rack_.Busy() && rests(); };
  if (!TurnUntil(gave_back, "what was given up")) return false;
  const std::size_t recorder = pool_->parts() - 2;
  for (int i = 0; i < 3; ++i) pool_->StepPart(recorder);
  if (!TurnUntil(gave_back, "recording")) return false;
  for (const auto& client : clients_) client->CheckMemory();
  return !Over();
}

// Nothing is in flight: all space that is taken is some block's, and nothing is pinned.
void Simulation::Audit(bool empty) {
  if (Over()) return;
  const auto audit = pool_->audit();
  const PoolInfo info = pool_->info();
  if (audit.pinned_bytes != 0) {
    world_.Fail(Failure::kLeak, fmt::format("{} bytes stay pinned", audit.pinned_bytes));
  }
  for (const TenantInfo& tenant : info.tenants) {
    if (!empty || tenant.used_bytes == 0) continue;
    world_.Fail(Failure::kLeak, fmt::format("tenant {} holds {} bytes and has no blocks",
                                            tenant.name, tenant.used_bytes));
  }
  for (std::size_t i = 0; i < info.devices.size(); ++i) {
    const DeviceInfo& device = info.devices[i];
    if (device.used_bytes != audit.visible_bytes[i] || (empty && device.used_bytes != 0)) {
      world_.Fail(Failure::kLeak,
                  fmt::format("{} bytes of {} are taken, blocks have {}", device.used_bytes,
                              device.name, audit.visible_bytes[i]));
    }
    if (device.used_bytes > device.capacity_bytes) {
      world_.Fail(Failure::kOther, fmt::format("{} holds more than it has", device.name));
    }
  }
}

// Nobody uses the pool, so each device but the last can be removed, and what was there is there.
void Simulation::RemoveAll() {
  if (Over() || scenario_.care.removes == 0) return;
  const std::size_t first = world_.random.Below(rack_.size());
  for (std::size_t i = 0; i < rack_.size() && !Over(); ++i) {
    const bool surely = scenario_.catalog_error == 0;
    if (!caretaker_->Remove((first + i) % rack_.size(), surely)) continue;
    if (!TurnUntil([&] { return caretaker_->Idle(); }, "a removal")) return;
  }
  std::vector<Status> statuses;
  for (std::uint32_t key = 0; key < oracle_.size() && !Over(); ++key) {
    checker_->Read({&key, 1}, statuses, nullptr);
    if (!TurnUntil([&] { return checker_->Idle(); }, "a get after the removals")) return;
  }
  if (Quiesce()) Audit(false);
}

void Simulation::DropAll() {
  for (std::uint32_t key = 0; key < oracle_.size() && !Over(); ++key) checker_->Drop({&key, 1});
  TurnUntil([&] { return checker_->Idle() && pool_->Idle(); }, "dropping everything");
}

// What was acknowledged as durable is. A drained drive takes the promise of its blocks with it.
bool Simulation::Keeps() const {
  return world_.losses == 0 && scenario_.catalog && NoneDrained(*setting_);
}

// The drives that take anything are no smaller than the memory that does.
bool Simulation::Spills() const {
  std::uint64_t memory = 0;
  std::uint64_t drives = 0;
  for (std::size_t i = 0; i < rack_.size(); ++i) {
    const DeviceInfo device = pool_->info().devices[i];
    if (device.state != DeviceState::kServing) continue;
    (rack_.drive(i).spec().memory ? memory : drives) += device.capacity_bytes;
  }
  return drives >= memory;
}

// Of what a key ever held, one version is recorded at most: another would come back some day.
void Simulation::CheckRows() {
  if (scenario_.catalog_error > 0) return;
  std::set<std::pair<std::uint32_t, std::string_view>> keys;
  for (const auto& [generation, row] : assembly_.catalog().rows) {
    if (keys.emplace(row.space, row.key).second) continue;
    world_.Fail(Failure::kOther,
                fmt::format("block {} is recorded beside an older one of its key", generation));
  }
}

// What is still there when it has stopped (spilling may evict) is there after the restart.
void Simulation::StopPool() {
  pool_->Stop();
  if (!TurnUntil([&] { return pool_->stopped() && pool_->Idle(); }, "the stop")) return;
  CheckRows();
  const bool quiet = scenario_.catalog && scenario_.catalog_error == 0 && world_.troubles == 0;
  const std::uint64_t dirty = pool_->info().dirty_bytes;
  if (dirty != 0 && quiet && Spills()) {
    world_.Fail(Failure::kOther, fmt::format("{} bytes are not spilled at the stop", dirty));
  }
  const bool all_durable = quiet && dirty == 0;
  oracle_.Crash(Keeps(), all_durable, [&](std::uint32_t key) { return Present(key); });
}

// Ends a pool however it stands. After a crash its drives give back everything, and keep nothing.
void Simulation::ClearAway() {
  if (!pool_) return;
  if (!world_.crashed() && !pool_->stopped()) {
    PlanCrash(true);
    world_.Crash();
  }
  if (world_.crashed()) {
    oracle_.Crash(Keeps(), false, [&](std::uint32_t key) { return Present(key); });
  }
  rack_.LetGo();
  const auto idle = [&] {
    for (const auto& client : clients_) client->EndLeases();
    checker_->EndLeases();
    return !rack_.Busy() && pool_->Idle() && checker_->Idle() &&
           std::all_of(clients_.begin(), clients_.end(),
                       [](const auto& client) { return client->Idle(); });
  };
  for (int turn = 0; !idle() && turn < kMostTurns; ++turn) {
    Turn(false);
    PassTime();  // who tries again and again has to see his deadline come
  }
  requests_ += setting_->requests;
  if (!idle()) {
    world_.Fail(Failure::kHang, "what is in flight does not end when its drives let go of it");
    for (auto& client : clients_) (void)client.release();
    (void)checker_.release();
    (void)pool_.release();
  }
  checker_.reset();
  clients_.clear();
  caretaker_.reset();
  pool_.reset();
}

}  // namespace kvpool::sim
