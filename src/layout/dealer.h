// Dealer: which device takes the next unit, so that every prefix, every slice and all slices so far
// of any prefix hold each device's share. The rule, its bounds and how it was found:
// docs/placement.md.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "layout/extent.h"

namespace kvpool::layout {

// Deals one context block by block. Deterministic: the same shares and shape always give the same
// rows. Every prefix of whole blocks is read back as early as whole units allow.
// Threads: one.
class Dealer {
 public:
  // shares: >= 0, sum > 0; only their ratios matter.
  Dealer(std::span<const double> shares, std::uint32_t units_per_block, std::uint32_t slices);

  // The devices of the next block's units; row.size() == units_per_block. Units of one slice that
  // share a device are neighbours.
  void DealBlock(std::span<DeviceIndex> row);

 private:
  // A run of slices, halved at a border between two of them; a leaf is one slice.
  struct Node {
    std::uint32_t units = 0;       // of a block
    std::uint32_t left_units = 0;  // of them before the border; 0: a leaf
    std::uint32_t right = 0;       // node of the second half; the first half is the next node
    std::uint32_t border = 0;      // units of a block before the border, from the block's start
    std::uint32_t depth = 0;
  };
  // What a node remembers of one device, over all blocks so far.
  struct Tally {
    double units = 0;   // in the node
    double left = 0;    // in its first half
    double corner = 0;  // in all slices before its border
  };

  std::uint32_t Build(std::span<const std::uint32_t> slice_units, std::uint32_t first_unit,
                      std::uint32_t depth);
  void CountBlock();
  void Split(std::uint32_t node);
  void ChooseFirstHalf(std::uint32_t node);
  void WriteSlice(const Node& slice);
  double* CountsAt(std::uint32_t depth) { return counts_.data() + depth * shares_.size(); }

  std::vector<DeviceIndex> devices_;  // those with a share; all else is by position in here
  std::vector<double> shares_;        // sum 1
  std::vector<double> period_;        // 1 / share
  std::vector<double> weight_;        // what a unit too many costs
  std::vector<Node> nodes_;           // in preorder
  std::vector<Tally> tallies_;        // [node][device]
  std::vector<double> dealt_;         // [device]
  std::vector<double> finish_;        // [device]: of the next unit, were it dealt there
  double blocks_ = 0;                 // the present one included

  // Of the present block:
  std::vector<double> counts_;  // [depth][device]: units of the node being split
  std::vector<double> before_;  // [device]: units in the slices before it
  std::vector<double> cost_;    // scratch of ChooseFirstHalf
  std::span<DeviceIndex> row_;  // what is still to be written of it
};

}  // namespace kvpool::layout
