// Client: one user of the pool: submits what chance says, and holds the pool to its promises.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "pool/pool_impl.h"
#include "tests/sim/dormant.h"
#include "tests/sim/job.h"
#include "tests/sim/oracle.h"
#include "tests/sim/rack.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_catalog.h"
#include "tests/sim/world.h"

namespace kvpool::sim {

// What the clients of one pool share.
struct Setting {
  World& world;
  Oracle& oracle;
  const Scenario& scenario;
  pool::PoolImpl& pool;
  Rack& rack;
  Dormant& dormant;
  const CatalogState& catalog;  // of a catalog in memory; empty for any other
  std::vector<Space> spaces;
  std::uint64_t requests = 0;  // submitted
};

// No device has failed. One that was away when the pool was opened has not.
bool NoneDrained(const Setting& setting);

// Threads: one.
class Client {
 public:
  Client(Setting& setting, const ClientPlan& plan, std::unique_ptr<Channel> channel);

  // Submits something if it is time. True when it did.
  bool Act();
  // Takes what is done, ends leases whose time has come, and looks for requests that do not end.
  // True when anything moved.
  bool Collect();
  // When Act or Collect has something to do by itself.
  std::int64_t NextNs() const;
  bool Idle() const { return in_flight_.empty() && leased_.empty(); }
  void EndLeases();
  // Whether anything was written into the memory of gets that have ended.
  void CheckMemory();

  // A get for whoever checks the pool. Once Idle: what became of each key, and the version of the
  // last that was found.
  void Read(std::span<const std::uint32_t> ids, std::vector<Status>& statuses,
            std::uint32_t* version);
  void Drop(std::span<const std::uint32_t> ids);

 private:
  Job& NewJob(JobKind kind, std::span<const std::uint32_t> ids);
  std::vector<std::uint32_t> DrawKeys(std::uint64_t most);
  std::uint64_t MostKeys() const;
  Priority DrawPriority();
  void Put();
  void Get(std::span<const std::uint32_t> ids);
  void Flush();
  template <class AnyRequest>
  void Submit(Job& job, AnyRequest& request);
  void Settle(Job& job);
  void SettlePut(Job& job);
  void SettleGet(Job& job);
  void SettleDrop(Job& job);
  void SettleFlush(Job& job);
  void CheckStatus(const Job& job, Status status, std::initializer_list<Status> allowed);
  void CheckBytes(const Job& job, std::size_t key);
  void CheckFound(const Job& job, std::size_t key);
  void CheckInTime(Job& job);
  void EndLease(Job& job);
  void Watch(std::unique_ptr<Job> job);
  void CheckMark(const Job& job);
  void Fail(Failure failure, const Job& job, const std::string& text);

  Setting& setting_;
  World& world_;
  const ClientPlan& plan_;
  std::unique_ptr<Channel> channel_;
  std::vector<std::unique_ptr<Job>> in_flight_;
  std::vector<std::unique_ptr<Job>> leased_;
  std::vector<std::unique_ptr<Job>> watched_;  // gets that have ended, and their memory with a mark
  std::int64_t next_act_ns_ = 0;
  std::vector<Status>* statuses_ = nullptr;  // of the Read under way
  std::uint32_t* version_ = nullptr;
};

}  // namespace kvpool::sim
