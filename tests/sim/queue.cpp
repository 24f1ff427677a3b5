#include "tests/sim/queue.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/limits.h"
#include "device/io_check.h"

namespace kvpool::sim {
namespace {

using device::Io;
using device::Op;

void Gather(const Io& io, std::vector<std::byte>& to) {
  to.resize(io.bytes);
  std::byte* at = to.data();
  for (const iovec& segment : io.segments) {
    std::memcpy(at, segment.iov_base, segment.iov_len);
    at += segment.iov_len;
  }
}

void Scatter(const std::byte* from, const Io& io) {
  for (const iovec& segment : io.segments) {
    std::memcpy(segment.iov_base, from, segment.iov_len);
    from += segment.iov_len;
  }
}

bool Moves(const Io& io) { return io.op == Op::kRead || io.op == Op::kWrite; }

}  // namespace

SimQueue::SimQueue(SimDrive& drive) : drive_(drive), world_(drive.world_) {
  drive_.queues_.push_back(this);
}

SimQueue::~SimQueue() {
  KVPOOL_CHECK(flights_.empty());
  std::erase(drive_.queues_, this);
}

std::size_t SimQueue::Submit(std::span<Io* const> ios) {
  std::size_t taken = 0;
  for (; taken < ios.size() && flights_.size() < drive_.spec_.depth; ++taken) {
    Io& io = *ios[taken];
    world_.Event();
    Flight flight;
    flight.io = &io;
    flight.number = world_.events();
    if (!device::IsValid(io, drive_.traits_)) {
      world_.Fail(Failure::kOther, "an I/O outside of its device, or against its traits");
      flight.fate = Fate::kError;
    } else if (world_.crashed()) {
      flight.severed = true;
    } else if (drive_.retired_) {
      world_.Fail(
          Failure::kOther,
          fmt::format("an I/O on {}, which is no part of the pool any more", drive_.spec_.name));
      flight.fate = Fate::kError;
    } else {
      CheckOverlap(io);
      flight.fate = DrawFate(io);
      flight.due_ns = DrawDue(io, flight.fate);
      if (io.op == Op::kFlush) flight.epoch = drive_.media_.BeginFlush();
      if (io.op == Op::kWrite && world_.random.Chance(0.5)) Gather(io, flight.early);
    }
    world_.Note("{}: {} {} at {}+{} fate {} due {}", drive_.spec_.name, flight.number,
                static_cast<int>(io.op), io.offset, io.bytes, static_cast<int>(flight.fate),
                flight.due_ns);
    flights_.push_back(std::move(flight));
  }
  return taken;
}

SimQueue::Fate SimQueue::DrawFate(const Io& io) {
  const Faults& faults = drive_.spec_.faults;
  Random& random = world_.random;
  if (random.Chance(faults.vanish)) drive_.vanished_ = true;
  if (drive_.vanished_) return Fate::kError;
  if (random.Chance(faults.storm)) {
    drive_.storm_until_ns_ = world_.now() + static_cast<std::int64_t>(random.Below(300)) * kMs;
  }
  if (random.Chance(faults.hang)) return Fate::kHang;
  if (random.Chance(faults.late)) return Fate::kLate;
  const double error = io.op == Op::kFlush   ? faults.flush_error
                       : io.op == Op::kWrite ? faults.write_error
                                             : faults.read_error;
  if (random.Chance(error)) return Fate::kError;
  if (!Moves(io)) return Fate::kGood;
  const bool write = io.op == Op::kWrite;
  if (random.Chance(write ? faults.flip_write : faults.flip_read)) return Fate::kFlip;
  if (write && random.Chance(faults.torn)) return Fate::kTorn;
  if (write && random.Chance(faults.misdirected)) return Fate::kMisdirected;
  return Fate::kGood;
}

std::int64_t SimQueue::DrawDue(const Io& io, Fate fate) {
  Random& random = world_.random;
  const std::int64_t now = world_.now();
  if (fate == Fate::kHang) return kNever;
  if (fate == Fate::kLate) {
    if (random.Chance(0.1)) return drive_.spec_.lets_go ? now + 10'000 * kMs : kNever;
    return now + static_cast<std::int64_t>(random.Logarithmic(5, 3000)) * kMs;
  }
  const DriveSpec& spec = drive_.spec_;
  const auto work = static_cast<std::int64_t>(io.bytes / spec.bytes_per_s * 1e9);
  drive_.busy_until_ns_ = std::max(drive_.busy_until_ns_, now) + work;
  std::int64_t due = drive_.busy_until_ns_ + spec.latency_ns / 2 +
                     static_cast<std::int64_t>(random.Below(spec.latency_ns + 1));
  if (now < drive_.storm_until_ns_) due += static_cast<std::int64_t>(random.Below(500)) * kMs;
  return due;
}

// Two I/Os that meet while both are in flight: space was given twice, or freed too early.
void SimQueue::CheckOverlap(const Io& io) {
  if (!Moves(io)) return;
  for (const SimQueue* queue : drive_.queues_) {
    for (const Flight& other : queue->flights_) {
      if (!Moves(*other.io) || other.severed || other.landed) continue;
      // A read that was given up may come late: then it harms nobody. A write must not.
      if (other.io->op == Op::kRead && (io.op == Op::kRead || other.cancelled)) continue;
      if (io.offset >= other.io->offset + other.io->bytes) continue;
      if (other.io->offset >= io.offset + io.bytes) continue;
      world_.Fail(Failure::kOther,
                  fmt::format("two I/Os meet on {} at {}", drive_.spec_.name, io.offset));
    }
  }
}

std::size_t SimQueue::Poll(std::span<Io*> done) {
  std::size_t count = 0;
  while (count < done.size()) {
    const auto due = [](const Flight& a, const Flight& b) {
      return a.due_ns != b.due_ns ? a.due_ns < b.due_ns : a.number < b.number;
    };
    const auto next = std::min_element(flights_.begin(), flights_.end(), due);
    if (next == flights_.end() || next->due_ns > world_.now()) break;
    End(*next);
    done[count++] = next->io;
    flights_.erase(next);
  }
  return count;
}

void SimQueue::End(Flight& flight) {
  world_.Event();  // crashes before it lands
  LandOnce(flight);
  world_.Note("{}: {} ends {}", drive_.spec_.name, flight.number,
              static_cast<int>(flight.io->status));
  if (flight.io->status != Status::kOk) ++world_.troubles;
}

void SimQueue::LandOnce(Flight& flight) {
  if (flight.landed) return;
  flight.io->status = flight.severed ? Status::kIoError : Land(flight);
  flight.landed = true;
}

void SimQueue::LandDue() {
  for (Flight& flight : flights_) {
    if (flight.due_ns <= world_.now()) LandOnce(flight);
  }
}

Status SimQueue::Land(Flight& flight) {
  if (drive_.vanished_) return Status::kIoError;
  switch (flight.io->op) {
    case Op::kRead:
      return Read(flight);
    case Op::kWrite:
      return Write(flight);
    case Op::kFlush:
      return Flush(flight);
    case Op::kLend:
      return flight.fate == Fate::kError ? Status::kIoError : Status::kOk;
  }
  return Status::kIoError;
}

Status SimQueue::Read(Flight& flight) {
  const Io& io = *flight.io;
  if (flight.fate == Fate::kError) return Status::kIoError;
  const std::byte* from = drive_.media_.data() + io.offset;
  if (flight.fate == Fate::kFlip) {
    ++world_.troubles;
    scratch_.assign(from, from + io.bytes);
    scratch_[world_.random.Below(io.bytes)] ^= std::byte{1} << world_.random.Below(8);
    from = scratch_.data();
  }
  if (!flight.detached) Scatter(from, io);
  return Status::kOk;
}

std::span<const std::byte> SimQueue::BytesOf(Flight& flight) {
  if (!flight.early.empty()) return flight.early;
  Gather(*flight.io, scratch_);
  return scratch_;
}

Status SimQueue::Write(Flight& flight) {
  const Io& io = *flight.io;
  Random& random = world_.random;
  std::uint64_t offset = io.offset;
  std::span<const std::byte> bytes = BytesOf(flight);
  const std::uint64_t prefix = random.Below(io.bytes / kIoAlignment + 1) * kIoAlignment;
  if (flight.fate == Fate::kFlip || flight.fate == Fate::kTorn ||
      flight.fate == Fate::kMisdirected) {
    ++world_.losses;
  }
  if (flight.fate == Fate::kFlip) {
    if (bytes.data() != scratch_.data()) scratch_.assign(bytes.begin(), bytes.end());
    scratch_[random.Below(io.bytes)] ^= std::byte{1} << random.Below(8);
    bytes = scratch_;
  } else if (flight.fate == Fate::kTorn || flight.fate == Fate::kError) {
    bytes = bytes.first(std::min<std::uint64_t>(prefix, bytes.size()));
  } else if (flight.fate == Fate::kMisdirected) {
    offset = random.Below((drive_.spec_.capacity_bytes - io.bytes) / kIoAlignment) * kIoAlignment;
  }
  drive_.media_.Write(offset, bytes, random);
  return flight.fate == Fate::kError ? Status::kIoError : Status::kOk;
}

Status SimQueue::Flush(const Flight& flight) {
  if (flight.fate == Fate::kError) return Status::kIoError;
  if (drive_.spec_.faults.lying_flush) {
    ++world_.losses;
  } else {
    drive_.media_.EndFlush(flight.epoch);
  }
  return Status::kOk;
}

void SimQueue::Cancel(Io& io) {
  const auto flight = std::find_if(flights_.begin(), flights_.end(),
                                   [&](const Flight& one) { return one.io == &io; });
  KVPOOL_CHECK(flight != flights_.end());
  world_.Note("{}: cancel {}", drive_.spec_.name, flight->number);
  ++world_.troubles;
  flight->cancelled = true;
  if (flight->severed || flight->fate == Fate::kLate) return;
  // Too late, often: it ends as it would have. Otherwise soon, and nobody knows how much was done.
  if (flight->fate != Fate::kHang && world_.random.Chance(0.3)) return;
  flight->fate = Fate::kError;
  const auto soon = world_.now() + static_cast<std::int64_t>(world_.random.Below(50'000));
  flight->due_ns = std::min(flight->due_ns, soon);
}

std::int64_t SimQueue::NextPollNs() const {
  std::int64_t next_ns = kNever;
  for (const Flight& flight : flights_) next_ns = std::min(next_ns, flight.due_ns);
  return next_ns;
}

bool SimQueue::HoldsPages(const Io& io) const {
  return !drive_.spec_.late_by_address &&
         std::any_of(flights_.begin(), flights_.end(),
                     [&](const Flight& one) { return one.io == &io && one.cancelled; });
}

void SimQueue::LetGo() {
  for (Flight& flight : flights_) flight.due_ns = std::min(flight.due_ns, world_.now());
}

bool SimQueue::Busy() const {
  return std::any_of(flights_.begin(), flights_.end(),
                     [](const Flight& one) { return Moves(*one.io) && !one.landed; });
}

bool SimQueue::Stalls() const {
  return std::any_of(flights_.begin(), flights_.end(), [](const Flight& one) {
    return !one.landed && (one.fate == Fate::kHang || one.fate == Fate::kLate);
  });
}

void SimQueue::Detach(const iovec& part) {
  const auto* begin = static_cast<const std::byte*>(part.iov_base);
  for (Flight& flight : flights_) {
    if (!flight.cancelled || flight.io->op != Op::kRead || drive_.spec_.late_by_address) continue;
    for (const iovec& segment : flight.io->segments) {
      const auto* other = static_cast<const std::byte*>(segment.iov_base);
      flight.detached |= begin < other + segment.iov_len && other < begin + part.iov_len;
    }
  }
}

bool SimQueue::Reaches(std::span<const std::byte> memory) const {
  return std::any_of(flights_.begin(), flights_.end(), [&](const Flight& flight) {
    if (flight.io->op != Op::kRead || flight.severed || flight.detached || flight.landed)
      return false;
    return std::any_of(
        flight.io->segments.begin(), flight.io->segments.end(), [&](const iovec& segment) {
          const auto* begin = static_cast<const std::byte*>(segment.iov_base);
          return begin < memory.data() + memory.size() && memory.data() < begin + segment.iov_len;
        });
  });
}

void SimQueue::Crash() {
  Random& random = world_.random;
  for (Flight& flight : flights_) {
    const Io& io = *flight.io;
    if (io.op == Op::kWrite && !flight.severed && !flight.landed && !drive_.vanished_ &&
        random.Chance(0.7)) {
      const std::uint64_t pages = random.Below(io.bytes / kIoAlignment + 1);
      const auto bytes = BytesOf(flight);
      drive_.media_.Write(io.offset,
                          bytes.first(std::min<std::uint64_t>(pages * kIoAlignment, bytes.size())),
                          random);
    }
    flight.severed = true;
    flight.due_ns = 0;
  }
}

}  // namespace kvpool::sim
