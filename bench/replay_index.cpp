#include "bench/replay_index.h"

#include <vector>

#include "base/check.h"
#include "base/checksum.h"
#include "base/limits.h"
#include "index/index.h"
#include "index/second_sight.h"

namespace kvpool::bench {
namespace {

constexpr std::uint32_t kSpace = 1;

class Replayer {
 public:
  Replayer(std::unique_ptr<index::EvictionPolicy> policy, std::uint64_t capacity_blocks,
           Admission admission)
      : index_(std::move(policy)), capacity_blocks_(capacity_blocks), admission_(admission) {}

  void Run(const trace::TraceRequest& request) {
    ++result_.requests;
    result_.references += request.hash_ids.size();
    keys_.clear();
    for (const std::uint64_t& id : request.hash_ids) {
      keys_.emplace_back(reinterpret_cast<const char*>(&id), sizeof id);
    }
    result_.leading_hits += index_.Match(kSpace, keys_);
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      Use(keys_[i], i, i == 0 ? index::kNoEntry : index_.Find(kSpace, keys_[i - 1]));
    }
  }

  IndexReplay Finish() {
    result_.blocks_at_end = index_.size();
    return result_;
  }

 private:
  void Use(Key key, std::uint64_t ordinal, index::EntryId parent) {
    index::EntryId entry = index_.Find(kSpace, key);
    if (entry != index::kNoEntry) {
      index_.Reference(entry, parent);
      return;
    }
    if (admission_ == Admission::kSecondSight && !second_sight_.Admit(Digest(key, kSpace))) {
      ++result_.declined;
      return;
    }
    entry = index_.Reserve({.space = kSpace, .key = key, .ordinal = ordinal, .parent = parent});
    index_.Publish(entry);
    KVPOOL_CHECK(!index_.Unpin(entry));
    ++result_.inserts;
    while (index_.size() > capacity_blocks_) Evict();
  }

  void Evict() {
    const index::EntryId victim = index_.Victim();
    KVPOOL_CHECK(victim != index::kNoEntry);
    KVPOOL_CHECK(index_.Doom(victim));
    index_.Erase(victim);
    ++result_.evictions;
  }

  index::Index index_;
  std::uint64_t capacity_blocks_;
  Admission admission_;
  index::SecondSight second_sight_{kMaxRememberedKeys};
  IndexReplay result_;
  std::vector<Key> keys_;
};

}  // namespace

IndexReplay ReplayIndex(const trace::Trace& trace, std::unique_ptr<index::EvictionPolicy> policy,
                        std::uint64_t capacity_blocks, Admission admission) {
  KVPOOL_CHECK(capacity_blocks > 0);
  Replayer replayer(std::move(policy), capacity_blocks, admission);
  for (const trace::TraceRequest& request : trace.requests) replayer.Run(request);
  return replayer.Finish();
}

Result<IndexReplay> ReplayIndex(const trace::Trace& trace, std::string_view policy,
                                std::uint64_t capacity_blocks, Admission admission) {
  auto made = index::MakeEvictionPolicy(policy);
  if (!made) return tl::unexpected(std::move(made.error()));
  if (capacity_blocks == 0) return Fail(Status::kInvalid, "The capacity must be at least 1 block.");
  return ReplayIndex(trace, std::move(*made), capacity_blocks, admission);
}

}  // namespace kvpool::bench
