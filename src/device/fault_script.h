// FaultScript: which of a device's I/Os go wrong, and how. Pure.
//
//   script    = [ statement { ";" statement } ]
//   statement = "seed=" number  |  [ op "." ] fault { " " parameter }
//   op        = "read" | "write" | "flush"                   absent: all that the fault applies to
//   fault     = "error"      the I/O fails with kIoError and touches nothing
//             | "short"      only a prefix (about half) is transferred, yet success is reported: a
//             torn
//                            write, or a read that leaves the rest of its memory as it was
//             | "flip"       one bit of the bytes is wrong, yet success is reported
//             | "hang"       the I/O never ends by itself; Cancel ends it with kCancelled
//             | "hold"       the I/O does not end, and Cancel does not end it either; with ms= it
//             does
//                            after that time, and a read then lands, in the pages that were behind
//                            its addresses when it was submitted: what a drive does that is late
//             | "disappear"  from this I/O on every I/O of the device fails with kIoError
//   parameter = "after=" number   lets so many I/Os of its op pass first    (0)
//             | "every=" number   strikes each n-th after that              (1)
//             | "count=" number   strikes so many times, then never again   (no limit)
//             | "chance=" number  strikes with this probability, 0 to 1     (1)
//             | "ms=" number      hold: so many milliseconds                (for ever)
//
// "read.error after=10 count=3; write.short every=100; seed=7": the 11th to 13th read fail, and
// every hundredth write is torn. Each statement counts the I/Os of its op, over all queues of the
// device, from 1; the first statement that strikes an I/O decides. short and flip apply to reads
// and writes.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include "device/device.h"

namespace kvpool::device {

enum class Fault : std::uint8_t { kNone, kError, kShort, kFlip, kHang, kHold, kDisappear };

struct FaultRule {
  Fault fault = Fault::kNone;
  std::optional<Op> op;
  std::uint64_t after = 0;
  std::uint64_t every = 1;
  std::uint64_t count = std::numeric_limits<std::uint64_t>::max();
  double chance = 1;
  std::uint64_t hold_ms = std::numeric_limits<std::uint64_t>::max();  // the default: for ever

  bool Matches(Op other) const;
  friend bool operator==(const FaultRule&, const FaultRule&) = default;
};

struct FaultScript {
  std::uint64_t seed = 1;  // of flipped bits and chances
  std::vector<FaultRule> rules;
};

// kInvalid: one sentence that names the part that is wrong.
Result<FaultScript> ParseFaults(std::string_view text);

// Follows a script through the I/Os of a device. Threads: one at a time.
class FaultPlan {
 public:
  explicit FaultPlan(FaultScript script);

  // What becomes of the next I/O. `detail` is set to a number for the fault to use: its hold_ms, or
  // a random one.
  Fault Next(Op op, std::uint64_t& detail);

 private:
  struct State {
    std::uint64_t seen = 0;
    std::uint64_t struck = 0;
  };
  bool Strikes(const FaultRule& rule, State& state);

  FaultScript script_;
  std::vector<State> states_;  // by rule
  std::uint64_t drawn_ = 0;
};

}  // namespace kvpool::device
