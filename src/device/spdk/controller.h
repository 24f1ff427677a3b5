// SpdkController: one NVMe controller, its keeper thread, and the I/O queue pairs that queues use.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "device/spdk/address.h"
#include "kvpool/result.h"

struct spdk_nvme_cpl;
struct spdk_nvme_ctrlr;
struct spdk_nvme_ns;
struct spdk_nvme_qpair;

namespace kvpool::device {

// Who is inside a queue pair: its queue's owner or its controller's keeper. Both leave within
// microseconds, but for a keeper that resets the controller. Two unshared atomic writes a visit.
class Gate {
 public:
  bool TryEnter() { return !inside_.exchange(true, std::memory_order_acquire); }
  void Enter() {
    while (!TryEnter()) std::this_thread::yield();
  }
  void Leave() { inside_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> inside_{false};
};

// One NVMe submission and completion queue. Its members but the gate belong to whoever is inside.
struct SpdkPair {
  Gate gate;
  spdk_nvme_qpair* handle = nullptr;  // nullptr: the controller is being reset, or lost
};

// A namespace as a device uses it, and the check that a reset brought back the same.
class SpdkTenant {
 public:
  virtual ~SpdkTenant() = default;
  // The keeper's, with no pair in use. `ns` is nullptr where the namespace is gone. False: nothing
  // could be found out, the controller has to be reset once more.
  virtual bool AfterReset(spdk_nvme_ns* ns) = 0;
  virtual std::uint32_t namespace_id() const = 0;
};

// Threads: any. The keeper is a thread of its own: it answers keep-alives, which queues that sleep
// could not, sees removals and resets the controller. A reset ends what is in flight with a
// completion that asks to be repeated, and gives every pair a new handle.
class SpdkController {
 public:
  // One controller has one object, however many namespaces of it are open. kNotFound (nothing
  // there), kBusy (in use), kInvalid (refused), kUnsupported, kIoError.
  static Result<std::shared_ptr<SpdkController>> Attach(const SpdkAddress& address);
  ~SpdkController();  // no pair and no tenant is left
  SpdkController(const SpdkController&) = delete;
  SpdkController& operator=(const SpdkController&) = delete;

  spdk_nvme_ctrlr* handle() const { return handle_; }
  const SpdkAddress& address() const { return address_; }  // names no namespace
  // For good: what is in flight has come back, and nothing can be submitted any more.
  bool lost() const { return lost_.load(std::memory_order_acquire); }

  Result<void> AddPair(SpdkPair& pair);
  void RemovePair(SpdkPair& pair);  // whatever is in flight comes back in here
  void AddTenant(SpdkTenant& tenant);
  void RemoveTenant(SpdkTenant& tenant);

  // An I/O queue pair of SPDK's, connected; nullptr where that fails. For pairs, and for transfers
  // that the keeper waits for.
  spdk_nvme_qpair* NewHandle();

  // Something on a pair failed: the keeper looks after it, soon.
  void Suspect();
  // Asks the controller to end the command that was submitted with `argument`. Inside the gate.
  void Abort(SpdkPair& pair, void* argument);

 private:
  SpdkController(SpdkAddress address, spdk_nvme_ctrlr* handle);

  void Keep();
  bool Healthy();
  void Recover();
  bool Disconnect();
  bool Reconnect();
  bool OpenPairs();
  bool TellTenants();
  std::vector<SpdkPair*> EnterPairs();
  std::vector<spdk_nvme_qpair*> TakeStuck();
  void SetResetting(bool resetting);
  bool Stopped();
  void WaitForWork();
  static void AbortDone(void* controller, const spdk_nvme_cpl* completion);

  const SpdkAddress address_;
  spdk_nvme_ctrlr* const handle_;
  std::atomic<bool> lost_{false};
  std::atomic<bool> suspect_{false};
  std::atomic<int> aborts_{0};  // asked for and not answered

  Mutex mutex_;
  std::condition_variable_any wake_;
  bool stop_ KVPOOL_GUARDED_BY(mutex_) = false;
  bool resetting_ KVPOOL_GUARDED_BY(mutex_) = false;
  std::vector<SpdkPair*> pairs_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<spdk_nvme_qpair*> stuck_ KVPOOL_GUARDED_BY(mutex_);  // to be freed by a reset
  std::vector<SpdkTenant*> tenants_ KVPOOL_GUARDED_BY(mutex_);
  std::thread keeper_;
};

}  // namespace kvpool::device
