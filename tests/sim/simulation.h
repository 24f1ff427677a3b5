// Simulation: one seed from its first pool to the last check.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "pool/pool_impl.h"
#include "tests/sim/assembly.h"
#include "tests/sim/caretaker.h"
#include "tests/sim/client.h"
#include "tests/sim/dormant.h"
#include "tests/sim/oracle.h"
#include "tests/sim/quotas.h"
#include "tests/sim/rack.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

namespace kvpool::sim {

struct Outcome {
  std::uint64_t requests = 0;
  std::uint64_t crashes = 0;
  std::uint64_t digest = 0;  // of everything that happened
  std::vector<World::Failed> failed;
};

// Threads: one.
class Simulation {
 public:
  Simulation(std::uint64_t seed, const SimOptions& options);
  ~Simulation();

  Outcome Run();

 private:
  void Live(bool last);
  void Open();
  void PlanCrash(bool last);
  bool Restored();
  void CheckRestored(std::uint32_t key);
  void Work();
  bool Quiesce();
  bool Keeps() const;
  void Audit(bool empty);
  void RemoveAll();
  void DropAll();
  void StopPool();
  void ClearAway();
  bool Turn(bool act);
  void PassTime();
  template <class Done>
  bool TurnUntil(Done&& done, const char* what);
  bool Over() const { return world_.crashed() || !world_.failed().empty(); }
  bool Present(std::uint32_t key) const;
  bool Spills() const;
  void CheckRows();

  const std::uint64_t seed_;
  World world_;
  const Scenario scenario_;
  Oracle oracle_;
  Rack rack_;
  Dormant dormant_;
  Assembly assembly_;
  std::uint64_t crashes_ = 0;
  std::uint64_t requests_ = 0;
  bool power_cut_ = false;

  std::unique_ptr<pool::PoolImpl> pool_;
  std::unique_ptr<Setting> setting_;
  std::vector<std::unique_ptr<Client>> clients_;
  ClientPlan checker_plan_;
  std::unique_ptr<Client> checker_;
  std::unique_ptr<Caretaker> caretaker_;
  Quotas quotas_;
};

}  // namespace kvpool::sim
