// WaitingWork: what waits for one lane's queue on a device, and whose turn it is.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "pool/fair_queue.h"
#include "pool/operation.h"

namespace kvpool::pool {

// Four classes, each a FairQueue. Gets go before puts, both before requests of the background, and
// all before a mover's work; these last two only while the device works on nothing before them, a
// few I/Os at a time: a request that comes now must not wait for long.
//
// None waits for ever. Behind classes that always have something, puts get every fifth I/O once a
// thousand went before them (of 1 ms at most, each), the background every twentieth, and a mover's
// work every fifth when it is urgent.
// Pure: no I/O, no clock. Threads: the lane's.
class WaitingWork {
 public:
  void Add(DeviceBatch& batch);
  bool empty() const;

  // The batch to take the next I/O from, and nullptr when none may be issued now. Lets go of
  // batches that have nothing left.
  DeviceBatch* Next();
  // What Next gave cannot go on now: nothing of its client's and class is offered until Resume.
  void HoldBack();
  void Resume();
  // An I/O of the batch that Next gave was taken.
  void Issued(std::uint64_t bytes);
  // One of the operation's is no longer in flight.
  void Ended(const Operation& operation);

  // Shows every batch that has anything left, and lets go of those that have not then.
  template <class Visit>
  void ForEach(Visit visit) {
    for (Class& one : classes_) {
      one.batches.EraseIf([&](DeviceBatch* batch) {
        if (!batch->Exhausted()) visit(*batch);
        const bool gone = batch->Exhausted();
        if (gone) batch->operation->LetGo();
        return gone;
      });
    }
  }

 private:
  enum Rank : std::uint8_t { kGets, kPuts, kBackground, kMoves, kRanks };
  struct Class {
    FairQueue<DeviceBatch*> batches;
    std::uint32_t in_flight = 0;
    std::uint32_t passed_over = 0;  // I/Os that went before it, less its own part of them
  };

  static Rank RankOf(const Operation& operation);
  void LetGoOfExhausted(Class& one);
  Rank Choose() const;
  bool Due(Rank rank) const;
  bool MayIssue(Rank rank) const;

  std::array<Class, kRanks> classes_;
  Rank chosen_ = kRanks;
};

}  // namespace kvpool::pool
