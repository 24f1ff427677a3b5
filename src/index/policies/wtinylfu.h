// W-TinyLFU (Einziger, Friedman, Manes: "TinyLFU: a highly efficient cache admission policy", ACM
// ToS 2017), for comparison.
#pragma once

#include "index/chunked_vector.h"
#include "index/entry_list.h"
#include "index/eviction_policy.h"
#include "index/frequency_sketch.h"

namespace kvpool::index {

// A window of 1 %, and a main part of probation (20 %) and protection (80 %), each in LRU order.
// What leaves the window and the main part's oldest block compete by estimated frequency.
class WTinyLfuPolicy final : public EvictionPolicy {
 public:
  void Insert(EntryId entry, const BlockTraits& block) override;
  void Reference(EntryId entry) override;
  void Erase(EntryId entry, Leaving leaving) override;
  EntryId Victim() override;
  void Park(EntryId entry) override;
  void Unpark(EntryId entry) override;

 private:
  enum class Part : std::uint8_t { kWindow, kProbation, kProtected };
  struct Node {
    std::uint64_t hash = 0;
    Part part = Part::kWindow;
    bool parked = false;
  };

  EntryList& ListOf(const Node& node) { return lists_[static_cast<std::size_t>(node.part)]; }
  EntryList& ListOf(Part part) { return lists_[static_cast<std::size_t>(part)]; }
  std::size_t size() const { return lists_[0].size() + lists_[1].size() + lists_[2].size(); }
  void Move(EntryId entry, Part part);

  ChunkedVector<Node> nodes_;
  EntryLinks links_;
  EntryList lists_[3];
  FrequencySketch sketch_;
  EntryId candidate_ = kNoEntry;  // left the window last, not yet compared
};

}  // namespace kvpool::index
