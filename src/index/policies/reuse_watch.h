// ReuseWatch: follows a sample of all blocks, present or evicted, and tells a ReuseModel what
// becomes of them, so that what is learned does not depend on what was kept.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "index/chunked_vector.h"
#include "index/entry_list.h"
#include "index/hash_table.h"
#include "index/policies/age_buckets.h"
#include "index/policies/reuse_model.h"

namespace kvpool::index {

// Blocks are sampled by their hash, at a rate that lets the sample look back over several times
// what the cache holds. At most kWatched of them: about 3 MB, whatever the cache's size.
// Threads: one at a time.
class ReuseWatch {
 public:
  static constexpr std::size_t kWatched = 65'536;
  static constexpr std::size_t kLookBack = 8;  // times the blocks present

  explicit ReuseWatch(ReuseModel& model) : model_(model) {}

  // How often the block was used before, if it is being watched; else 0.
  std::uint16_t UsesOf(std::uint64_t hash) const;
  // The block was used at `now`, which never runs backwards, and is of that class until its next
  // use. `present`: blocks in the cache.
  void Use(std::uint64_t hash, BlockClass block_class, std::uint16_t uses, std::uint64_t now,
           std::size_t present);
  void Reclassify(std::uint64_t hash, BlockClass block_class);

  // Gives the model the blocks that are being watched, and opens a new bucket of ages.
  void Report(std::uint64_t now);

 private:
  struct Block {
    std::uint64_t hash = 0;
    std::uint64_t last_use = 0;
    std::uint16_t uses = 0;
    BlockClass block_class = 0;
  };
  using Counts = std::array<double, kBlockClasses>;

  bool Sampled(std::uint64_t hash) const { return (hash >> 32) % kWholeRate < rate_; }
  EntryId Find(std::uint64_t hash) const;
  EntryId Add(std::uint64_t hash, std::uint64_t now, std::size_t present);
  void Remove(EntryId id);
  void AdaptRate(std::uint64_t look_back, std::size_t present);

  static constexpr std::uint32_t kWholeRate = 1 << 16;

  ReuseModel& model_;
  HashTable table_;
  ChunkedVector<Block> blocks_;
  EntryLinks links_;
  EntryList by_last_use_;
  AgeBuckets<Counts> counts_;
  EntryId end_ = 0;
  EntryId free_ = kNoEntry;
  std::uint32_t rate_ = kWholeRate;  // of kWholeRate
  std::size_t added_at_rate_ = 0;
};

}  // namespace kvpool::index
