#include "device/spdk/controller.h"

#include <fmt/format.h>
#include <pthread.h>
#include <spdk/env.h>
#include <spdk/nvme.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>

#include "base/check.h"
#include "base/clock.h"
#include "device/spdk/environment.h"
#include "device/spdk/pci.h"
#include "device/spdk/tcp.h"

namespace kvpool::device {
namespace {

constexpr auto kQuiet =
    std::chrono::milliseconds(100);                   // between two looks at a healthy controller
constexpr auto kBusy = std::chrono::milliseconds(1);  // while something is being waited for
constexpr std::int64_t kReturnNs = 10'000'000'000;    // a target that restarts is back within this
constexpr auto kSettling = std::chrono::milliseconds(200);
constexpr int kLeastTries = 2;  // one of them may take all the time
constexpr auto kPollPause = std::chrono::microseconds(100);
constexpr std::int64_t kMaxResetNs = 10'000'000'000;
constexpr std::uint32_t kAdminTimeoutMs = 5'000;
constexpr std::uint32_t kQueueEntries = 128;
constexpr std::uint32_t kQueueRequests = 1024;  // a large I/O is split, each part takes one

bool IsPcie(const SpdkAddress& address) { return address.transport == SpdkTransport::kPcie; }

std::int64_t Now() { return Clock::Monotonic().NowNs(); }

// Attaching takes seconds where nothing answers, and SPDK does one at a time anyway.
Mutex attach_mutex;
std::map<std::string, std::weak_ptr<SpdkController>> attached KVPOOL_GUARDED_BY(attach_mutex);

Result<void> LooksThere(const SpdkAddress& address) {
  if (IsPcie(address)) return CheckPciDrive(address.traddr);
  if (address.transport == SpdkTransport::kTcp) return CheckTcpTarget(address);
  return {};
}

tl::unexpected<Error> NotAttached(const SpdkAddress& address) {
  const std::string cause = TakeSpdkError();
  if (IsPcie(address)) {
    return Fail(Status::kIoError,
                fmt::format("SPDK cannot attach to {}: {}; see that no other program drives it",
                            address.traddr, cause));
  }
  return Fail(Status::kNotFound,
              fmt::format("the target at {} port {} does not open subsystem {} to this host: {}; "
                          "correct subnqn, or allow the host there",
                          address.traddr, address.trsvcid, address.subnqn, cause));
}

Result<spdk_nvme_ctrlr*> Connect(const SpdkAddress& address) {
  spdk_nvme_transport_id id;
  std::memset(&id, 0, sizeof id);
  KVPOOL_CHECK(spdk_nvme_transport_id_parse(&id, address.ControllerId().c_str()) == 0);
  if (!spdk_nvme_transport_available(id.trtype)) {
    return Fail(Status::kUnsupported,
                fmt::format("{} needs a transport that this SPDK was built without: use one that "
                            "has it, or another address",
                            address.ControllerId()));
  }
  spdk_nvme_ctrlr_opts options;
  spdk_nvme_ctrlr_get_default_ctrlr_opts(&options, sizeof options);
  options.io_queue_size = kQueueEntries;
  options.admin_timeout_ms = kAdminTimeoutMs;
  options.fabrics_connect_timeout_us = std::uint64_t{kAdminTimeoutMs} * 1000;
  options.disable_error_logging = true;
  if (!address.hostnqn.empty()) {
    std::memset(options.hostnqn, 0, sizeof options.hostnqn);
    address.hostnqn.copy(options.hostnqn, sizeof options.hostnqn - 1);
  }
  TakeSpdkError();
  if (spdk_nvme_ctrlr* handle = spdk_nvme_connect(&id, &options, sizeof options)) return handle;
  return NotAttached(address);
}

// What a controller that cannot be reset may still write to is nobody's memory from here on.
void StopDma(spdk_nvme_ctrlr* handle) {
  constexpr std::uint32_t kCommand = 4;
  constexpr std::uint16_t kBusMaster = 4;
  spdk_pci_device* device = spdk_nvme_ctrlr_get_pci_device(handle);
  std::uint16_t command = 0;
  if (device == nullptr || spdk_pci_device_is_removed(device)) return;
  if (spdk_pci_device_cfg_read16(device, &command, kCommand) != 0) return;
  spdk_pci_device_cfg_write16(device, command & static_cast<std::uint16_t>(~kBusMaster), kCommand);
}

}  // namespace

Result<std::shared_ptr<SpdkController>> SpdkController::Attach(const SpdkAddress& address) {
  const auto environment = SpdkEnvironment::Get();
  if (!environment) return tl::unexpected(environment.error());
  const std::string id = address.ControllerId() + " " + address.hostnqn;
  MutexLock lock(attach_mutex);
  if (auto there = attached[id].lock(); there && !there->lost()) return there;
  if (auto there = LooksThere(address); !there) return tl::unexpected(there.error());
  if (IsPcie(address) && !(*environment)->iommu() && !(*environment)->hugepages()) {
    return Fail(Status::kUnsupported,
                fmt::format("{} needs either hugepages (sysctl vm.nr_hugepages=64) or an IOMMU and "
                            "vfio: provide one before this program starts",
                            address.traddr));
  }
  auto handle = Connect(address);
  if (!handle) return tl::unexpected(handle.error());
  SpdkAddress own = address;
  own.namespace_id = 0;
  std::shared_ptr<SpdkController> made(new SpdkController(std::move(own), *handle));
  attached[id] = made;
  return made;
}

SpdkController::SpdkController(SpdkAddress address, spdk_nvme_ctrlr* handle)
    : address_(std::move(address)), handle_(handle), keeper_([this] { Keep(); }) {
  ::pthread_setname_np(keeper_.native_handle(), "kvpool-spdk");
}

SpdkController::~SpdkController() {
  {
    MutexLock lock(mutex_);
    KVPOOL_CHECK(pairs_.empty() && tenants_.empty());
    stop_ = true;
  }
  wake_.notify_all();
  keeper_.join();
  if (!stuck_.empty()) Disconnect();
  spdk_nvme_detach(handle_);
}

// SPDK waits for ever for a PCIe controller that does not answer, so this polls. It also waits for
// ever to free what such a controller was asked for, unless that is being reset.
spdk_nvme_qpair* SpdkController::NewHandle() {
  spdk_nvme_io_qpair_opts options;
  spdk_nvme_ctrlr_get_default_io_qpair_opts(handle_, &options, sizeof options);
  options.io_queue_requests = std::max(options.io_queue_requests, kQueueRequests);
  options.async_mode = IsPcie(address_);
  spdk_nvme_qpair* made = spdk_nvme_ctrlr_alloc_io_qpair(handle_, &options, sizeof options);
  if (made == nullptr || !options.async_mode) return made;
  const std::int64_t end = Now() + std::int64_t{kAdminTimeoutMs} * 1'000'000;
  while (!spdk_nvme_qpair_is_connected(made)) {
    if (spdk_nvme_qpair_process_completions(made, 0) >= 0 && Now() < end) continue;
    MutexLock lock(mutex_);
    stuck_.push_back(made);
    Suspect();
    return nullptr;
  }
  return made;
}

Result<void> SpdkController::AddPair(SpdkPair& pair) {
  pair.gate.Enter();
  {
    MutexLock lock(mutex_);
    while (resetting_) wake_.wait(mutex_);
    pairs_.push_back(&pair);
  }
  TakeSpdkError();
  if (!lost()) pair.handle = NewHandle();
  const bool good = pair.handle != nullptr;
  pair.gate.Leave();
  if (good) return {};
  RemovePair(pair);
  return Fail(lost() ? Status::kIoError : Status::kNoSpace,
              fmt::format("{} gives no further I/O queue: {}; use fewer lanes and channels, or see "
                          "that SPDK has memory and the drive is well",
                          address_.ControllerId(), lost() ? "it is lost" : TakeSpdkError()));
}

void SpdkController::RemovePair(SpdkPair& pair) {
  {
    MutexLock lock(mutex_);
    std::erase(pairs_, &pair);
  }
  pair.gate.Enter();
  spdk_nvme_ctrlr_free_io_qpair(std::exchange(pair.handle, nullptr));
  pair.gate.Leave();
}

void SpdkController::AddTenant(SpdkTenant& tenant) {
  MutexLock lock(mutex_);
  while (resetting_) wake_.wait(mutex_);
  tenants_.push_back(&tenant);
}

void SpdkController::RemoveTenant(SpdkTenant& tenant) {
  MutexLock lock(mutex_);
  while (resetting_) wake_.wait(mutex_);
  std::erase(tenants_, &tenant);
}

void SpdkController::Suspect() {
  if (!suspect_.exchange(true, std::memory_order_acq_rel)) wake_.notify_all();
}

void SpdkController::AbortDone(void* controller, const spdk_nvme_cpl* /*completion*/) {
  static_cast<SpdkController*>(controller)->aborts_.fetch_sub(1, std::memory_order_relaxed);
}

void SpdkController::Abort(SpdkPair& pair, void* argument) {
  aborts_.fetch_add(1, std::memory_order_relaxed);
  if (spdk_nvme_ctrlr_cmd_abort_ext(handle_, pair.handle, argument, &AbortDone, this) != 0) {
    aborts_.fetch_sub(1,
                      std::memory_order_relaxed);  // nothing to abort, or no room: Suspect ends it
  }
  wake_.notify_all();
}

void SpdkController::WaitForWork() {
  MutexLock lock(mutex_);
  const bool busy = aborts_.load(std::memory_order_relaxed) > 0;
  if (!stop_ && !suspect_) wake_.wait_for(mutex_, busy ? kBusy : kQuiet);
}

void SpdkController::Keep() {
  while (!Stopped() && !lost()) {
    if (!Healthy()) Recover();
    WaitForWork();
  }
}

bool SpdkController::Healthy() {
  if (IsPcie(address_)) spdk_nvme_scan_attached(spdk_nvme_ctrlr_get_transport_id(handle_));
  if (spdk_nvme_ctrlr_process_admin_completions(handle_) < 0) return false;
  if (suspect_.exchange(false, std::memory_order_acq_rel)) return false;
  if (!IsPcie(address_)) return true;  // over a network, a register is read by a command
  const spdk_nvme_csts_register state = spdk_nvme_ctrlr_get_regs_csts(handle_);
  return state.bits.rdy != 0 && state.bits.cfs == 0;  // else somebody reset it, or it gave up
}

// Every pair, with the keeper inside. RemovePair waits at the gate, so they stay until they are
// left.
std::vector<SpdkPair*> SpdkController::EnterPairs() {
  MutexLock lock(mutex_);
  for (SpdkPair* pair : pairs_) pair->gate.Enter();
  return pairs_;
}

// Ends all that is in flight, then tries for a while: a target that is being restarted answers with
// errors first.
void SpdkController::Recover() {
  SetResetting(true);
  // Whoever reset a PCIe function may touch it for another 100 ms.
  if (IsPcie(address_)) std::this_thread::sleep_for(kSettling);
  const std::int64_t end = Now() + kReturnNs;
  bool back = false;
  for (int tries = 1; Disconnect() && !Stopped(); ++tries) {
    back = LooksThere(address_) && Reconnect() && TellTenants() && OpenPairs();
    if (back || (Now() >= end && tries >= kLeastTries)) break;
    std::this_thread::sleep_for(kQuiet);
  }
  if (!back) {
    Disconnect();
    spdk_nvme_ctrlr_fail(handle_);
    lost_.store(true, std::memory_order_release);
  }
  suspect_ = false;
  SetResetting(false);
}

// Afterwards nothing moves bytes, and no pair has a handle. False: the controller has been removed.
bool SpdkController::Disconnect() {
  const std::vector<SpdkPair*> pairs = EnterPairs();
  const int result = spdk_nvme_ctrlr_disconnect(handle_);
  const bool there = result == 0 || result == -EBUSY;  // -EBUSY: it is down since the last time
  const std::int64_t end = Now() + kMaxResetNs;
  while (there && spdk_nvme_ctrlr_process_admin_completions(handle_) >= 0) {  // an error ends it
    if (Now() < end) continue;
    StopDma(handle_);
    break;
  }
  for (SpdkPair* pair : pairs) {
    spdk_nvme_ctrlr_free_io_qpair(std::exchange(pair->handle, nullptr));
    pair->gate.Leave();
  }
  for (spdk_nvme_qpair* handle : TakeStuck()) spdk_nvme_ctrlr_free_io_qpair(handle);
  return there;
}

std::vector<spdk_nvme_qpair*> SpdkController::TakeStuck() {
  MutexLock lock(mutex_);
  return std::exchange(stuck_, {});
}

bool SpdkController::Reconnect() {
  spdk_nvme_ctrlr_reconnect_async(handle_);
  const std::int64_t end = Now() + kMaxResetNs;
  while (true) {
    const int result = spdk_nvme_ctrlr_reconnect_poll_async(handle_);
    if (result != -EAGAIN) return result == 0;
    if (Now() >= end) spdk_nvme_ctrlr_fail(handle_);  // nothing else ends a connection that hangs
    std::this_thread::sleep_for(kPollPause);
  }
}

bool SpdkController::OpenPairs() {
  bool good = true;
  const std::vector<SpdkPair*> pairs = EnterPairs();
  for (SpdkPair* pair : pairs) {
    if (good) pair->handle = NewHandle();
    good = good && pair->handle != nullptr;
  }
  for (SpdkPair* pair : pairs) pair->gate.Leave();
  return good;
}

// The tenants stay: RemoveTenant waits for the end of the reset.
bool SpdkController::TellTenants() {
  std::vector<SpdkTenant*> tenants;
  {
    MutexLock lock(mutex_);
    tenants = tenants_;
  }
  return std::ranges::all_of(tenants, [this](SpdkTenant* tenant) {
    const std::uint32_t id = tenant->namespace_id();
    const bool active = spdk_nvme_ctrlr_is_active_ns(handle_, id);
    return tenant->AfterReset(active ? spdk_nvme_ctrlr_get_ns(handle_, id) : nullptr);
  });
}

void SpdkController::SetResetting(bool resetting) {
  {
    MutexLock lock(mutex_);
    resetting_ = resetting;
  }
  wake_.notify_all();
}

bool SpdkController::Stopped() {
  MutexLock lock(mutex_);
  return stop_;
}

}  // namespace kvpool::device
