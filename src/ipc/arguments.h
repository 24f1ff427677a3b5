// The arguments of a request in a region: one encoder, one decoder, and the results on the way
// back.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ipc/protocol.h"
#include "kvpool/key.h"
#include "kvpool/status.h"

namespace kvpool::ipc {

// What a client passes. A key that no block can have (more than 512 bytes) goes as an empty one,
// which no block can have either.
struct Arguments {
  std::span<const Key> keys;
  Key parent;
  std::span<const SegmentRecord> segments;
  std::uint32_t views = 0;  // that there is room for in the results

  std::uint32_t KeyBytes() const;
  ArgumentsLayout Layout() const;
  // `to` has Layout().bytes.
  void Encode(std::span<std::byte> to) const;
};

// What the daemon made of them, out of memory that nobody else writes. Threads: one.
class DecodedArguments {
 public:
  // Copies the arguments of `submission` from `region`, once, and checks that they are whole and
  // within the region. False: they are not.
  bool Decode(const Submission& submission, std::span<const std::byte> region);

  std::span<const Key> keys() const { return keys_; }
  Key parent() const { return parent_; }
  std::span<const SegmentRecord> segments() const { return segments_; }
  std::uint64_t bytes() const { return copy_.size(); }

 private:
  std::vector<std::byte> copy_;
  std::vector<SegmentRecord> segments_;
  std::vector<Key> keys_;
  Key parent_;
};

}  // namespace kvpool::ipc
