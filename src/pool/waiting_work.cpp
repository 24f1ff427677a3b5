#include "pool/waiting_work.h"

#include <algorithm>
#include <span>

#include "base/check.h"

namespace kvpool::pool {
namespace {

// What a class has ahead of its turn: after `patience` I/Os of classes before it, one for each
// `share` of them.
struct Floor {
  std::uint32_t share;
  std::uint32_t patience;
};
constexpr Floor kFloors[] = {{0, 0}, {4, 1000}, {19, 0}, {4, 0}};  // by rank

constexpr std::uint32_t kBehindDepth = 4;  // I/Os of each class that only fills gaps

}  // namespace

WaitingWork::Rank WaitingWork::RankOf(const Operation& operation) {
  if (operation.moves) return kMoves;
  if (operation.priority == Priority::kBackground) return kBackground;
  return operation.kind == OperationKind::kGet ? kGets : kPuts;
}

void WaitingWork::Add(DeviceBatch& batch) {
  const Operation& operation = *batch.operation;
  classes_[RankOf(operation)].batches.Push(operation.flow, &batch);
}

bool WaitingWork::empty() const {
  return std::all_of(classes_.begin(), classes_.end(), [](const Class& one) {
    return one.batches.empty() && !one.batches.holds_back();
  });
}

DeviceBatch* WaitingWork::Next() {
  for (Class& one : classes_) LetGoOfExhausted(one);
  chosen_ = Choose();
  return chosen_ == kRanks ? nullptr : classes_[chosen_].batches.Front();
}

void WaitingWork::HoldBack() { classes_[chosen_].batches.HoldBack(); }

void WaitingWork::Resume() {
  for (Class& one : classes_) one.batches.Resume();
}

void WaitingWork::LetGoOfExhausted(Class& one) {
  while (!one.batches.empty() && one.batches.Front()->Exhausted()) {
    Operation& operation = *one.batches.Front()->operation;
    one.batches.Serve(0, true);
    operation.LetGo();
  }
  if (one.batches.empty()) one.passed_over = 0;
}

WaitingWork::Rank WaitingWork::Choose() const {
  for (const Rank rank : {kMoves, kBackground, kPuts}) {
    if (Due(rank)) return rank;
  }
  for (const Rank rank : {kGets, kPuts, kBackground, kMoves}) {
    if (MayIssue(rank)) return rank;
  }
  return kRanks;
}

bool WaitingWork::Due(Rank rank) const {
  const Class& one = classes_[rank];
  if (one.batches.empty()) return false;
  if (one.passed_over < kFloors[rank].patience + kFloors[rank].share) return false;
  if (rank == kPuts) return true;
  if (one.in_flight >= kBehindDepth) return false;
  return rank == kBackground ||
         one.batches.Front()->operation->urgent.load(std::memory_order_relaxed);
}

// The device is not idle as long as it works on anything before.
bool WaitingWork::MayIssue(Rank rank) const {
  if (classes_[rank].batches.empty()) return false;
  if (rank == kGets || rank == kPuts) return true;
  const auto before = std::span(classes_).first(rank);
  return classes_[rank].in_flight < kBehindDepth &&
         std::all_of(
             before.begin(), before.end(), [](const Class& one) { return one.in_flight == 0; });
}

void WaitingWork::Issued(std::uint64_t bytes) {
  Class& one = classes_[chosen_];
  DeviceBatch& batch = *one.batches.Front();
  const bool ended = batch.Exhausted();
  Operation& operation = *batch.operation;
  one.batches.Serve(bytes, ended);
  if (ended) operation.LetGo();
  ++one.in_flight;
  one.passed_over -= std::min(one.passed_over, kFloors[chosen_].share);
  for (std::size_t rank = chosen_ + 1u; rank < kRanks; ++rank) {
    Class& behind = classes_[rank];
    const std::uint32_t most = kFloors[rank].patience + kFloors[rank].share;
    if (!behind.batches.empty() && behind.passed_over < most) ++behind.passed_over;
  }
}

void WaitingWork::Ended(const Operation& operation) {
  Class& one = classes_[RankOf(operation)];
  KVPOOL_CHECK(one.in_flight > 0);
  --one.in_flight;
}

}  // namespace kvpool::pool
