// EntryLinks and EntryList: doubly linked lists of entries, two links an entry, for eviction
// policies whose entries stand in one list at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "index/chunked_vector.h"
#include "index/eviction_policy.h"

namespace kvpool::index {

struct EntryLink {
  EntryId newer = kNoEntry;
  EntryId older = kNoEntry;
};

using EntryLinks = ChunkedVector<EntryLink>;

// Threads: one at a time.
class EntryList {
 public:
  EntryId newest() const { return newest_; }
  EntryId oldest() const { return oldest_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  void PushNewest(EntryLinks& links, EntryId entry) {
    links[entry] = {.newer = kNoEntry, .older = newest_};
    (newest_ == kNoEntry ? oldest_ : links[newest_].newer) = entry;
    newest_ = entry;
    ++size_;
  }
  void PushOldest(EntryLinks& links, EntryId entry) {
    links[entry] = {.newer = oldest_, .older = kNoEntry};
    (oldest_ == kNoEntry ? newest_ : links[oldest_].older) = entry;
    oldest_ = entry;
    ++size_;
  }
  void Remove(EntryLinks& links, EntryId entry) {
    const EntryLink link = links[entry];
    (link.newer == kNoEntry ? newest_ : links[link.newer].older) = link.older;
    (link.older == kNoEntry ? oldest_ : links[link.older].newer) = link.newer;
    --size_;
  }

  // Moves all of `newer` behind the newest here.
  void AppendNewer(EntryLinks& links, EntryList& newer) {
    if (newer.empty()) return;
    (newest_ == kNoEntry ? oldest_ : links[newest_].newer) = newer.oldest_;
    links[newer.oldest_].older = newest_;
    newest_ = newer.newest_;
    size_ += newer.size_;
    newer = {};
  }

 private:
  EntryId newest_ = kNoEntry;
  EntryId oldest_ = kNoEntry;
  std::size_t size_ = 0;
};

}  // namespace kvpool::index
