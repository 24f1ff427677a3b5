// GhostList: the hashes of blocks that have gone, oldest first out. About 30 bytes a hash.
#pragma once

#include <cstddef>
#include <cstdint>

#include "index/chunked_vector.h"
#include "index/entry_list.h"
#include "index/hash_table.h"

namespace kvpool::index {

// Threads: one at a time.
class GhostList {
 public:
  std::size_t size() const { return list_.size(); }

  void Push(std::uint64_t hash) {
    Remove(hash);
    EntryId id = free_;
    if (id != kNoEntry) {
      free_ = links_[id].older;
    } else {
      id = end_++;
      links_.Cover(end_);
      hashes_.Cover(end_);
    }
    hashes_[id] = hash;
    list_.PushNewest(links_, id);
    table_.Insert(hash, id, [this](EntryId other) { return hashes_[other]; });
  }

  // True when it was there.
  bool Remove(std::uint64_t hash) {
    const EntryId id = table_.Find(hash, [&](EntryId other) { return hashes_[other] == hash; });
    if (id == kNoEntry) return false;
    Free(id);
    return true;
  }

  void Trim(std::size_t size) {
    while (list_.size() > size) Free(list_.oldest());
  }

 private:
  void Free(EntryId id) {
    table_.Erase(hashes_[id], id);
    list_.Remove(links_, id);
    links_[id].older = free_;
    free_ = id;
  }

  HashTable table_;
  ChunkedVector<std::uint64_t> hashes_;
  EntryLinks links_;
  EntryList list_;
  EntryId end_ = 0;
  EntryId free_ = kNoEntry;
};

}  // namespace kvpool::index
