// SharedLimit: so many of a thing for several parties, of which none can leave another without.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <vector>

#include "base/mutex.h"

namespace kvpool {

// Half of them are kept for the parties, in equal parts; what a party takes beyond its part comes
// out of the rest, first come, first served. Threads: any.
class SharedLimit {
 public:
  // Parties are numbered from 0; there is one at least.
  SharedLimit(std::size_t most, std::size_t parties)
      : most_(most),
        own_(std::max(most / 2 / parties, std::min<std::size_t>(1, most / parties))),
        rest_(most - own_ * parties),
        taken_(parties) {}

  // All `count` or, false, none of them.
  bool Take(std::size_t party, std::size_t count) {
    MutexLock lock(mutex_);
    const std::size_t before = Beyond(taken_[party]);
    const std::size_t more = Beyond(taken_[party] + count) - before;
    if (more > rest_) return false;
    rest_ -= more;
    taken_[party] += count;
    return true;
  }
  void Give(std::size_t party, std::size_t count) {
    MutexLock lock(mutex_);
    rest_ += Beyond(taken_[party]) - Beyond(taken_[party] - count);
    taken_[party] -= count;
  }
  // As Take, until its end; null: none of them. The limit outlives it.
  struct Giver {
    std::size_t party = 0;
    std::size_t count = 0;
    void operator()(SharedLimit* limit) const { limit->Give(party, count); }
  };
  using Taken = std::unique_ptr<SharedLimit, Giver>;
  Taken Hold(std::size_t party, std::size_t count) {
    return {Take(party, count) ? this : nullptr, Giver{party, count}};
  }

  std::size_t most() const { return most_; }
  std::size_t own() const { return own_; }  // what no other can take from a party

 private:
  std::size_t Beyond(std::size_t taken) const { return taken > own_ ? taken - own_ : 0; }

  const std::size_t most_;
  const std::size_t own_;
  Mutex mutex_;
  std::size_t rest_ KVPOOL_GUARDED_BY(mutex_);
  std::vector<std::size_t> taken_ KVPOOL_GUARDED_BY(mutex_);
};

}  // namespace kvpool
