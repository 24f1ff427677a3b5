#include "device/nvme/flights.h"

#include <algorithm>

#include "base/check.h"

namespace kvpool::device {

NvmeFlights::NvmeFlights(const NvmeLimits& limits) : limits_(limits), max_bytes_(limits.max_bytes) {
  for (unsigned i = kIos; i-- > 0;) free_flights_.push_back(static_cast<std::uint16_t>(i));
  for (unsigned i = kCommands; i-- > 0;) free_commands_.push_back(static_cast<std::uint16_t>(i));
  ready_.reserve(kCommands);
  again_.reserve(kCommands);
}

void NvmeFlights::Add(Io& io) {
  KVPOOL_CHECK(held_ < kIos);
  ++held_;
  io.queue_progress = free_flights_.back();
  free_flights_.pop_back();
  FlightOf(io) = {};
  unmade_.Push(io);
}

void NvmeFlights::AddDone(Io& io) {
  KVPOOL_CHECK(held_ < kIos);
  ++held_;
  io.queue_progress = kNoFlight;
  done_.Push(io);
}

bool NvmeFlights::Next(std::int64_t now_ns, std::uint16_t& place) {
  std::vector<std::uint16_t>& waiting =
      !ready_.empty() || again_.empty() || now_ns < again_at_ns_ ? ready_ : again_;
  if (!waiting.empty()) {
    place = waiting.back();
    waiting.pop_back();
  } else if (!unmade_.empty() && !free_commands_.empty()) {
    place = Make(unmade_.front());
  } else {
    return false;
  }
  Begin(commands_[place]);
  return true;
}

// A command for what has none of `io`, which stands first among those.
std::uint16_t NvmeFlights::Make(Io& io) {
  Flight& flight = FlightOf(io);
  const std::uint16_t place = free_commands_.back();
  free_commands_.pop_back();
  NvmeCommand& command = commands_[place];
  command = {.io = &io, .begin = flight.made, .end = io.bytes};
  if (io.bytes > 0) {
    command.end = flight.made + NextPiece(io.segments, flight.made, io.bytes, max_bytes_).bytes;
  }
  flight.made = command.end;
  ++flight.commands;
  if (flight.made == io.bytes) unmade_.Pop();
  return place;
}

void NvmeFlights::Begin(NvmeCommand& command) {
  command.fixed = false;
  command.bytes = 0;
  if (command.begin == command.end) return;  // a flush
  command.bytes = NextPiece(command.io->segments, command.begin, command.end, max_bytes_).bytes;
}

void NvmeFlights::Answered(std::uint16_t place, std::int32_t result, std::int64_t now_ns) {
  NvmeCommand& command = commands_[place];
  const bool cancelled = FlightOf(*command.io).cancelled;
  switch (Understand(result)) {
    case NvmeAnswer::kDone:
      command.begin += command.bytes;
      command.tries = 0;
      if (command.begin == command.end) return End(place, Status::kOk);
      break;
    case NvmeAnswer::kSmaller:
      if (!TakeSmaller(command)) return End(place, Status::kIoError);
      break;
    case NvmeAnswer::kAgain:
      if (++command.tries >= kMaxTries) return End(place, Status::kIoError);
      if (cancelled) break;
      again_.push_back(place);
      again_at_ns_ = now_ns + kPauseNs;
      return;
    case NvmeAnswer::kFailed:
      return End(place, Status::kIoError);
  }
  if (cancelled) return End(place, Status::kCancelled);
  ready_.push_back(place);
}

// Takes note of what the kernel could not map. False: there is nothing left to give up.
bool NvmeFlights::TakeSmaller(const NvmeCommand& command) {
  if (command.fixed) {
    // Linux 6.1 to 6.12 want the whole registered buffer to fit into one command's list.
    fixed_works_ = false;
    return true;
  }
  if (command.bytes <= limits_.always_bytes) return false;
  max_bytes_ = limits_.always_bytes;
  return true;
}

void NvmeFlights::End(std::uint16_t place, Status status) {
  Io& io = *commands_[place].io;
  commands_[place].io = nullptr;
  free_commands_.push_back(place);
  --FlightOf(io).commands;
  if (io.status == Status::kOk || status == Status::kIoError) io.status = status;
  Settle(io);
}

// Hands it back when no command of it is under way and none is to come.
void NvmeFlights::Settle(Io& io) {
  Flight& flight = FlightOf(io);
  if (io.status != Status::kOk && unmade_.Remove(io)) flight.made = io.bytes;
  if (flight.commands > 0 || flight.made < io.bytes) return;
  free_flights_.push_back(static_cast<std::uint16_t>(io.queue_progress));
  io.queue_progress = kNoFlight;
  done_.Push(io);
}

bool NvmeFlights::Cancel(Io& io) {
  if (io.queue_progress == kNoFlight || FlightOf(io).cancelled) return false;
  Flight& flight = FlightOf(io);
  flight.cancelled = true;
  bool gave_up = unmade_.Remove(io);
  if (gave_up) flight.made = io.bytes;
  for (std::vector<std::uint16_t>* waiting : {&ready_, &again_}) {
    const auto given_up = [&](std::uint16_t place) {
      if (commands_[place].io != &io) return false;
      commands_[place].io = nullptr;
      free_commands_.push_back(place);
      --flight.commands;
      gave_up = true;
      return true;
    };
    waiting->erase(std::remove_if(waiting->begin(), waiting->end(), given_up), waiting->end());
  }
  if (!gave_up) return false;
  if (io.status == Status::kOk) io.status = Status::kCancelled;
  Settle(io);
  return io.queue_progress == kNoFlight;
}

bool NvmeFlights::InFixedBuffers(const Io& io) const {
  return std::all_of(commands_.begin(), commands_.end(), [&io](const NvmeCommand& command) {
    return command.io != &io || command.fixed;
  });
}

std::size_t NvmeFlights::TakeDone(std::span<Io*> done) {
  const std::size_t count = done_.PopInto(done);
  held_ -= static_cast<unsigned>(count);
  return count;
}

}  // namespace kvpool::device
