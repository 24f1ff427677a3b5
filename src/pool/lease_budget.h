// LeaseBudget: what one holder of leases, or all of them, may keep from eviction.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/check.h"

namespace kvpool::pool {

// Threads: any.
class LeaseBudget {
 public:
  // `common`: that of all holders, which outlives this; null: there is none.
  explicit LeaseBudget(std::uint64_t most_bytes, LeaseBudget* common = nullptr)
      : most_bytes_(most_bytes), common_(common) {}
  ~LeaseBudget() { KVPOOL_CHECK(bytes_.load() == 0); }
  LeaseBudget(const LeaseBudget&) = delete;
  LeaseBudget& operator=(const LeaseBudget&) = delete;

  // False: so much more is too much, and nothing was taken.
  bool Take(std::uint64_t bytes) {
    if (bytes_.fetch_add(bytes) + bytes <= most_bytes_ &&
        (common_ == nullptr || common_->Take(bytes))) {
      return true;
    }
    bytes_.fetch_sub(bytes);
    return false;
  }
  void Give(std::uint64_t bytes) {
    bytes_.fetch_sub(bytes);
    if (common_ != nullptr) common_->Give(bytes);
  }
  std::uint64_t bytes() const { return bytes_.load(); }

 private:
  const std::uint64_t most_bytes_;
  LeaseBudget* const common_;
  std::atomic<std::uint64_t> bytes_{0};
};

}  // namespace kvpool::pool
