#include "pool/mover.h"

#include <sys/prctl.h>

#include <algorithm>
#include <chrono>

#include "base/check.h"
#include "base/limits.h"

namespace kvpool::pool {
namespace {

constexpr std::size_t kTrips = 2;  // one is read while the other is written
constexpr std::uint64_t kTripBytes = 16 * kMiB;
constexpr std::int64_t kUrgentNs = 2'000'000'000;
constexpr std::int64_t kRestNs = 500'000'000;
constexpr std::int64_t kLookNs = 100'000'000;  // while something is under way
constexpr std::int64_t kIdleLookNs =
    1'000'000'000;  // what a lost device leaves dirty, wakes nobody

}  // namespace

Mover::Mover(const MoverParts& parts) : parts_(parts) {
  for (std::size_t i = 0; i < kTrips; ++i) trips_.push_back(std::make_unique<Trip>());
}

Mover::~Mover() {
  if (!thread_.joinable()) return;
  Stop();
  thread_.join();
}

void Mover::Stop() {
  {
    MutexLock lock(mutex_);
    stop_ = true;
  }
  Wake();
}

void Mover::Add(Operation& flush, FlushSink& sink) {
  {
    MutexLock lock(mutex_);
    added_.push_back({&flush, &sink});
  }
  Wake();
}

void Mover::Wake() {
  {
    MutexLock lock(mutex_);
    awake_ = true;
  }
  wake_.notify_one();
}

void Mover::UnitsDone(Operation& operation) {
  // Inside the lock: the mover may be gone once it has the operation.
  MutexLock lock(mutex_);
  arrived_.push_back(&operation);
  awake_ = true;
  wake_.notify_one();
}

std::int64_t Mover::NextStepNs() const {
  MutexLock lock(mutex_);
  return awake_ ? 0 : look_ns_;
}

bool Mover::Idle() const {
  MutexLock lock(mutex_);
  return arrived_.empty() && added_.empty() && flushes_.empty() && TripsRest();
}

bool Mover::TripsRest() const {
  return std::all_of(trips_.begin(), trips_.end(), [](const auto& trip) {
    return trip->stage == Stage::kResting && trip->Free();
  });
}

bool Mover::Step() {
  bool moved = TakeArrivals();
  if (parts_.clock->NowNs() >= rest_until_ns_ || !flushes_.empty()) {
    for (const auto& trip : trips_) {
      if (trip->stage == Stage::kResting && trip->Free()) moved |= Begin(*trip);
    }
  }
  HurryUp();
  moved |= ServeFlushes();
  const std::int64_t now_ns = parts_.clock->NowNs();
  const bool busy = !flushes_.empty() || !TripsRest() || now_ns < rest_until_ns_;
  MutexLock lock(mutex_);
  look_ns_ = now_ns + (busy ? kLookNs : kIdleLookNs);
  stopped_ = stop_ && !moved && TripsRest() && arrived_.empty();
  return moved;
}

bool Mover::TakeArrivals() {
  {
    MutexLock lock(mutex_);
    std::swap(taken_, arrived_);
    flushes_.insert(flushes_.end(), added_.begin(), added_.end());
    added_.clear();
    awake_ = false;
    if (stop_ && !stopping_) rest_until_ns_ = 0;  // there is no later
    stopping_ = stop_;
  }
  const bool any = !taken_.empty();
  for (const Operation* operation : taken_) {
    for (const auto& trip : trips_) {
      if (&trip->reading == operation) Write(*trip);
      if (&trip->writing == operation) TakeStatus(*trip);
    }
  }
  taken_.clear();
  return any;
}

// False when there is nothing to move, or nowhere to move it to.
bool Mover::Begin(Trip& trip) {
  trip.move.Clear();
  // First what somebody waits for. One trip at a time, or both would carry the same.
  const bool more = MayEvacuate() && parts_.store->PlanEvacuation(kTripBytes, trip.move);
  if (trip.move.empty()) {
    trip.move.Clear();
    if (!parts_.store->PlanSpill(kTripBytes, trip.move)) Rest();
  }
  if (trip.move.empty()) return more;
  trip.stage = Stage::kReading;
  if (!MakeBuffer(trip)) {
    for (MovedUnit& unit : trip.move.units) unit.status = Status::kNoSpace;
    End(trip);
    return false;
  }
  Prepare(trip.reading, OperationKind::kGet, trip.get, trip);
  trip.reading.lease = true;  // what is mapped is written from where it lies
  for (std::size_t i = 0; i < trip.move.units.size(); ++i) {
    const MovedUnit& unit = trip.move.units[i];
    std::byte* room = trip.buffer ? trip.buffer->bytes().data() + trip.begin[i] : nullptr;
    trip.reading.segments.push_back({room, unit.bytes});
    trip.reading.units[unit.from.device()].push_back({.offset = unit.from.offset(),
                                                      .checksum = unit.from.checksum(),
                                                      .bytes = unit.bytes,
                                                      .key = static_cast<std::uint32_t>(i),
                                                      .unit = unit.unit});
  }
  Send(trip.reading);
  return true;
}

bool Mover::MayEvacuate() {
  {
    MutexLock lock(mutex_);
    if (stop_) return false;
  }
  return std::none_of(trips_.begin(), trips_.end(), [](const auto& trip) {
    return trip->stage != Stage::kResting && trip->move.evacuates;
  });
}

void Mover::Rest() { rest_until_ns_ = parts_.clock->NowNs() + kRestNs; }

// A unit is a key of its own, whose segments hold this unit alone: the shape has no unit_bytes.
void Mover::Prepare(Operation& operation, OperationKind kind, Request& request, Trip& trip) {
  trip.names.assign(trip.move.units.size(), Key{});
  request.keys = trip.names;
  operation.Reset(kind, request, parts_.slots.size());
  operation.moves = true;
  operation.sink = this;
  operation.deadline_ns = parts_.clock->NowNs() + parts_.deadline_ns;
  for (std::size_t i = 0; i < trip.move.units.size(); ++i) {
    const MovedUnit& unit = trip.move.units[i];
    operation.keys[i] = {.entry = unit.entry,
                         .seed = unit.seed,
                         .shape = {.block_bytes = unit.bytes, .units = 1},
                         .owner = unit.owner};
  }
}

void Mover::Send(Operation& operation) {
  operation.Start(0);
  GiveToLanes(operation, parts_.lanes_of_device);
}

// Room for what has to be copied, aligned for any drive. What is mapped needs none.
bool Mover::MakeBuffer(Trip& trip) {
  trip.begin.clear();
  std::uint64_t needed = 0;
  for (const MovedUnit& unit : trip.move.units) {
    trip.begin.push_back(needed);
    if (parts_.slots[unit.from.device()]->mapped) continue;
    needed += (unit.bytes + kIoAlignment - 1) / kIoAlignment * kIoAlignment;
  }
  if (needed == 0 || (trip.buffer && trip.buffer->bytes().size() >= needed)) return true;
  auto region = mem::Region::Make(
      {.bytes = std::max(needed, kTripBytes), .numa_node = -1, .shareable = false});
  if (region) trip.buffer = std::move(*region);
  return region.has_value();
}

void Mover::Write(Trip& trip) {
  trip.stage = Stage::kWriting;
  Prepare(trip.writing, OperationKind::kPut, trip.put, trip);
  for (std::size_t i = 0; i < trip.move.units.size(); ++i) {
    const MovedUnit& unit = trip.move.units[i];
    std::byte* mapped = parts_.slots[unit.from.device()]->device->Map(unit.from.offset());
    trip.writing.segments.push_back(mapped != nullptr ? Segment{mapped, unit.bytes}
                                                      : trip.reading.segments[i]);
    const Status read = trip.reading.KeyStatus(i);
    if (read != Status::kOk) {
      trip.writing.SetKeyStatus(i, read);
      continue;
    }
    trip.writing.units[unit.to.device()].push_back({.offset = unit.to.offset(),
                                                    .checksum = unit.from.checksum(),
                                                    .bytes = unit.bytes,
                                                    .key = static_cast<std::uint32_t>(i),
                                                    .unit = unit.unit});
  }
  trip.writing.Start(0);
  if (!trip.writing.HasUnits()) return TakeStatus(trip);
  GiveToLanes(trip.writing, parts_.lanes_of_device);
}

void Mover::TakeStatus(Trip& trip) {
  for (std::size_t i = 0; i < trip.move.units.size(); ++i) {
    trip.move.units[i].status = trip.writing.KeyStatus(i);
    if (trip.writing.KeyStatus(i) != Status::kOk) Rest();  // not again and again
  }
  End(trip);
}

void Mover::End(Trip& trip) {
  trip.stage = Stage::kResting;
  const bool any = std::any_of(trip.move.units.begin(), trip.move.units.end(),
                               [](const MovedUnit& unit) { return unit.status == Status::kOk; });
  if (stopping_ && any) rest_until_ns_ = 0;
  parts_.store->FinishMove(trip.move);
}

// What has waited for long may take its turn between the requests.
void Mover::HurryUp() {
  const std::int64_t now_ns = parts_.clock->NowNs();
  for (const auto& trip : trips_) {
    if (trip->stage == Stage::kResting) continue;
    const bool urgent = now_ns - trip->move.oldest_ns >= kUrgentNs || !flushes_.empty();
    Operation& operation = trip->stage == Stage::kReading ? trip->reading : trip->writing;
    if (urgent) operation.urgent.store(true, std::memory_order_relaxed);
  }
}

bool Mover::ServeFlushes() {
  const auto served = std::partition(flushes_.begin(), flushes_.end(), [&](const Waiter& waiter) {
    return !parts_.store->SettleFlush(*waiter.operation);
  });
  const bool any = served != flushes_.end();
  for (auto waiter = served; waiter != flushes_.end(); ++waiter) {
    parts_.recorder->Add(*waiter->operation, *waiter->sink);
  }
  flushes_.erase(served, flushes_.end());
  return any;
}

void Mover::StartThread() {
  thread_ = std::thread([this] { Run(); });
}

// Until there is something to do: once it is to stop, only what comes back.
void Mover::Sleep() {
  const std::int64_t wait_ns =
      stop_ ? kLookNs : std::max<std::int64_t>(0, look_ns_ - parts_.clock->NowNs());
  const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(wait_ns);
  const bool stopping = stop_;
  while (stopping ? arrived_.empty() : !awake_ && !stop_) {
    if (wake_.wait_until(mutex_, until) == std::cv_status::timeout) return;
  }
}

void Mover::Run() {
  prctl(PR_SET_NAME, "kvpool-mover");
  for (;;) {
    const bool moved = Step();
    MutexLock lock(mutex_);
    if (stopped_) return;
    if (!moved) Sleep();
  }
}

}  // namespace kvpool::pool
