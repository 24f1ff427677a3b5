// AgeBuckets: what happened when, ever more roughly the longer ago it was.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace kvpool::index {

// Buckets of consecutive times, each with a Payload; neighbours are merged once they span less than
// an eighth of their age together, so there are about 16 for each power of e of the oldest age.
// `into.Absorb(later)` merges payloads.
// Threads: one at a time. References stay valid until Open.
template <class Payload>
class AgeBuckets {
 public:
  struct Bucket {
    std::uint64_t start = 0;
    Payload payload;
  };

  AgeBuckets() { buckets_.push_back(std::make_unique<Bucket>()); }

  // Times from `start` on have a bucket of their own; `start` lies behind every earlier one.
  template <class Absorb>
  void Open(std::uint64_t start, Absorb&& absorb) {
    buckets_.push_back(std::make_unique<Bucket>());
    buckets_.back()->start = start;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      // The last two stay: their span is not known yet.
      const bool merge = kept > 0 && i + 1 < buckets_.size() &&
                         (buckets_[i + 1]->start - buckets_[kept - 1]->start) * 8 <=
                             start - buckets_[kept - 1]->start;
      if (merge) {
        absorb(buckets_[kept - 1]->payload, buckets_[i]->payload);
      } else {
        std::swap(buckets_[kept++], buckets_[i]);
      }
    }
    buckets_.resize(kept);
  }

  Bucket& Of(std::uint64_t time) {
    const auto later = std::upper_bound(
        buckets_.begin(), buckets_.end(), time,
        [](std::uint64_t t, const std::unique_ptr<Bucket>& bucket) { return t < bucket->start; });
    return **std::prev(later);
  }

  template <class Visit>
  void ForEach(Visit&& visit) {
    for (const auto& bucket : buckets_) visit(*bucket);
  }

 private:
  std::vector<std::unique_ptr<Bucket>> buckets_;
};

}  // namespace kvpool::index
