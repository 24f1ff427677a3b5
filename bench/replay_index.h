// Index-only replay: what a trace would hit, without a byte of KV.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "bench/trace/trace.h"
#include "index/eviction_policy.h"
#include "kvpool/config.h"
#include "kvpool/result.h"

namespace kvpool::bench {

struct IndexReplay {
  std::uint64_t requests = 0;
  std::uint64_t references = 0;    // blocks asked for
  std::uint64_t leading_hits = 0;  // of those, present as part of a leading run
  std::uint64_t inserts = 0;       // blocks that would be written
  std::uint64_t declined = 0;      // by admission
  std::uint64_t evictions = 0;
  std::uint64_t blocks_at_end = 0;

  double hit_ratio() const {
    return references == 0 ? 0
                           : static_cast<double>(leading_hits) / static_cast<double>(references);
  }
};

// For each request: counts the leading run that is present, then references every block in order;
// an absent one is inserted if it is admitted, and while there are more than `capacity_blocks`, the
// policy's victim goes, one at a time, even if it belongs to the same request. capacity_blocks > 0.
IndexReplay ReplayIndex(const trace::Trace& trace, std::unique_ptr<index::EvictionPolicy> policy,
                        std::uint64_t capacity_blocks, Admission admission = Admission::kAll);

// The same by the policy's name. kInvalid for an unknown one, or for no capacity.
Result<IndexReplay> ReplayIndex(const trace::Trace& trace, std::string_view policy,
                                std::uint64_t capacity_blocks,
                                Admission admission = Admission::kAll);

}  // namespace kvpool::bench
