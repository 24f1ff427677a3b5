// LayerClock: when each layer of a retrieval was complete, beside its share of the whole.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace kvpool::bench {

// Threads: one.
class LayerClock {
 public:
  explicit LayerClock(std::uint32_t layers) : layers_(layers) {}

  // `ready` layers were complete `seconds` after the start; ready never falls.
  void Saw(std::uint32_t ready, double seconds) {
    while (at_s_.size() < ready && at_s_.size() < layers_) at_s_.push_back(seconds);
  }

  // The worst over layers j past the first tenth of: the time until layers 0..j were complete, over
  // their share (j + 1) / layers of the whole time. Layers never seen count as complete at the end.
  // Absent with a single layer, which says nothing.
  std::optional<double> WorstRatio(double whole_s) const;

 private:
  std::uint32_t layers_;
  std::vector<double> at_s_;
};

}  // namespace kvpool::bench
