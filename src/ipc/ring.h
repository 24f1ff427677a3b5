// The two ends of a channel's rings. Each side keeps its own counters to itself and only shows them
// to the other; what the other shows is checked.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ipc/protocol.h"
#include "kvpool/status.h"

namespace kvpool::ipc {

// Threads: one.
class DaemonRing {
 public:
  // `memory`: ChannelLayout(depth).bytes of it, aligned to a page; the client can write there.
  DaemonRing(std::span<std::byte> memory, std::uint32_t depth);

  enum class Took : std::uint8_t { kSubmission, kNothing, kViolation };
  // Copies the next submission out, and takes its slot. kNothing also while the client leaves its
  // completions where they are. kViolation: a counter, an id or a record is impossible.
  Took Take(Submission& submission);
  // Ends the submission of a slot that was taken, once.
  void Complete(std::uint64_t id, Status status);
  std::atomic<std::uint32_t>& Progress(std::uint64_t id);

  // Before the daemon sleeps. False: something came meanwhile.
  bool GoToSleep();
  // After completions: the client sleeps, and nobody has called it yet.
  bool ClientSleeps();
  std::uint32_t in_flight() const { return in_flight_; }

 private:
  struct Slot {
    std::uint32_t uses = 0;
    bool in_flight = false;
  };

  ChannelHeader& header_;
  const std::uint32_t depth_;
  const Submission* const submissions_;
  Completion* const completions_;
  CounterLine* const progress_;
  std::uint32_t taken_ = 0;
  std::uint32_t completed_ = 0;
  std::uint32_t in_flight_ = 0;
  std::vector<Slot> slots_;
};

// Threads: one.
class ClientRing {
 public:
  ClientRing(std::span<std::byte> memory, std::uint32_t depth);

  // A slot for the next submission; nothing when all are in flight.
  std::optional<std::uint32_t> TakeSlot();
  // The slot that TakeSlot gave is not needed after all.
  void PutBack(std::uint32_t slot) { free_.push_back(slot); }
  // Fills in the id. True: the daemon sleeps, ring the bell.
  bool Submit(std::uint32_t slot, Submission submission);
  // The next completion; its slot is free again.
  std::optional<Completion> Collect();
  // Before the client sleeps. False: something came meanwhile.
  bool GoToSleep();
  bool HasCompletion() const;
  std::atomic<std::uint32_t>& Progress(std::uint32_t slot) const;

 private:
  ChannelHeader& header_;
  const std::uint32_t depth_;
  Submission* const submissions_;
  const Completion* const completions_;
  CounterLine* const progress_;
  std::uint32_t submitted_ = 0;
  std::uint32_t collected_ = 0;
  std::vector<std::uint32_t> uses_;
  std::vector<std::uint32_t> free_;
};

inline std::uint32_t SlotOf(std::uint64_t id) { return static_cast<std::uint32_t>(id); }

}  // namespace kvpool::ipc
