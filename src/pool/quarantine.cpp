#include "pool/quarantine.h"

#include "base/check.h"

namespace kvpool::pool {

void Quarantine::Hold(std::uint64_t offset) {
  MutexLock lock(mutex_);
  KVPOOL_CHECK(slots_.emplace(offset, false).second);
  held_.fetch_add(1, std::memory_order_release);
}

void Quarantine::Release(std::uint64_t offset) {
  MutexLock lock(mutex_);
  const auto slot = slots_.find(offset);
  if (slot == slots_.end()) return;
  if (slot->second) {
    free_.push_back(offset);
    has_free_.store(true, std::memory_order_release);
  }
  slots_.erase(slot);
  held_.fetch_sub(1, std::memory_order_release);
}

bool Quarantine::Keeps(std::uint64_t offset) {
  if (held_.load(std::memory_order_acquire) == 0) return false;
  MutexLock lock(mutex_);
  const auto slot = slots_.find(offset);
  if (slot == slots_.end()) return false;
  slot->second = true;
  return true;
}

std::vector<std::uint64_t> Quarantine::GivenUp() const {
  MutexLock lock(mutex_);
  std::vector<std::uint64_t> given_up;
  for (const auto& [offset, by_store] : slots_) {
    if (by_store) given_up.push_back(offset);
  }
  return given_up;
}

void Quarantine::StartAnew() {
  MutexLock lock(mutex_);
  slots_.clear();
  free_.clear();
  held_.store(0, std::memory_order_release);
  has_free_.store(false, std::memory_order_release);
}

void Quarantine::TakeFree(std::vector<std::uint64_t>& offsets) {
  MutexLock lock(mutex_);
  offsets.insert(offsets.end(), free_.begin(), free_.end());
  free_.clear();
  has_free_.store(false, std::memory_order_release);
}

}  // namespace kvpool::pool
