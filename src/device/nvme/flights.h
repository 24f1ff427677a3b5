// NvmeFlights: the Ios of one queue between Submit and Poll, and the commands that carry them. Does
// no I/O: says which command is next, and is told what became of it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "device/device.h"
#include "device/io_list.h"
#include "device/nvme/command.h"

namespace kvpool::device {

// One command: the bytes [begin, end) of its Io, of which `bytes` are under way and the rest
// follow.
struct NvmeCommand {
  Io* io = nullptr;  // null: the place is free
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  std::uint32_t bytes = 0;
  int tries = 0;
  bool fixed = false;  // its memory is a registered buffer

  // What is under way.
  NvmePiece Piece() const { return NextPiece(io->segments, begin, end, bytes); }
};

// Threads: the queue's. Times are the caller's clock.
class NvmeFlights {
 public:
  static constexpr unsigned kIos = 128;
  static constexpr unsigned kCommands = 256;  // a drive that takes 128 KiB needs 8 for 1 MiB
  static constexpr int kMaxTries = 5;
  static constexpr std::int64_t kPauseNs = 20'000'000;  // before a command is tried again

  explicit NvmeFlights(const NvmeLimits& limits);

  // Neither adds an Io while `held` of them are kIos.
  unsigned held() const { return held_; }
  void Add(Io& io);
  void AddDone(Io& io);  // one that needs no command, or may have none

  // The place of the next command to issue; false: there is none now.
  bool Next(std::int64_t now_ns, std::uint16_t& place);
  NvmeCommand& at(std::uint16_t place) { return commands_[place]; }
  // `result` is the answer of io_uring.
  void Answered(std::uint16_t place, std::int32_t result, std::int64_t now_ns);
  // When Next may have something without an answer; Queue::kNever.
  std::int64_t NextNs() const { return again_.empty() ? Queue::kNever : again_at_ns_; }

  // True: the Io is done because of it. What is under way ends when the drive answers.
  bool Cancel(Io& io);
  // Of a cancelled Io: all that is under way of it is in registered buffers, whose pages are held.
  bool InFixedBuffers(const Io& io) const;
  std::size_t TakeDone(std::span<Io*> done);

  // Whether commands on registered buffers may be made: until the kernel has refused one.
  bool fixed_works() const { return fixed_works_; }

 private:
  // Io::queue_progress is its place.
  struct Flight {
    std::uint32_t made = 0;      // bytes that commands were made for
    std::uint32_t commands = 0;  // made and not over
    bool cancelled = false;
  };
  static constexpr std::uint32_t kNoFlight = ~std::uint32_t{0};  // of an Io that is done

  Flight& FlightOf(const Io& io) { return flights_[io.queue_progress]; }
  std::uint16_t Make(Io& io);
  void Begin(NvmeCommand& command);
  bool TakeSmaller(const NvmeCommand& command);
  void End(std::uint16_t place, Status status);
  void Settle(Io& io);

  const NvmeLimits limits_;
  std::uint32_t max_bytes_;  // of one command; less than the drive's once the kernel refused
  bool fixed_works_ = true;
  unsigned held_ = 0;
  std::array<Flight, kIos> flights_;
  std::array<NvmeCommand, kCommands> commands_;
  std::vector<std::uint16_t> free_flights_;
  std::vector<std::uint16_t> free_commands_;
  std::vector<std::uint16_t> ready_;  // to go on at once
  std::vector<std::uint16_t> again_;  // to be tried again at again_at_ns_
  std::int64_t again_at_ns_ = 0;
  IoList unmade_;  // Ios with bytes that no command carries yet
  IoList done_;
};

}  // namespace kvpool::device
