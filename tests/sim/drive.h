// SimDrive: one made-up module of the pool: a drive, or memory. It outlives the pools that open it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/sim/media.h"
#include "tests/sim/world.h"

namespace kvpool::sim {

// Chances of an I/O to go wrong, and how.
struct Faults {
  double read_error = 0;
  double write_error = 0;  // part of it may be written all the same
  double flush_error = 0;
  double flip_read = 0;    // a bit on its way to the pool
  double flip_write = 0;   // a bit on its way to the media
  double torn = 0;         // a prefix is written, all is acknowledged
  double misdirected = 0;  // written somewhere else
  double storm = 0;        // everything takes very long for some time
  double hang = 0;         // comes back when it is cancelled only
  double late = 0;         // lands when it likes, whatever is asked of it
  double vanish = 0;       // the drive answers nothing but errors until the next start
  bool lying_flush = false;
};

struct DriveSpec {
  std::string name;
  bool memory = false;
  std::uint64_t capacity_bytes = 0;
  std::uint32_t depth = 1;
  std::uint32_t max_segments = 1;
  bool lets_go = false;          // whatever is late lands in the end
  bool late_by_address = false;  // a late read goes to an address, not to pages that it holds
  std::int64_t latency_ns = 0;
  double bytes_per_s = 0;
  Faults faults;
};

class SimQueue;

// Threads: one.
class SimDrive {
 public:
  SimDrive(World& world, DriveSpec spec);

  // The device of the next pool. The drive outlives it.
  std::unique_ptr<device::Device> Open();
  const DriveSpec& spec() const { return spec_; }

  // What is in flight is written, or not, or in part; with `power_cut` the cache goes as well. From
  // then on nothing reaches the media, until the next Open.
  void Crash(bool power_cut);
  // What is stored becomes noise.
  void Spoil();
  // Nobody may ask it for anything until the next Open.
  void Retire() { retired_ = true; }
  // What lands late, or never, lands now.
  void LetGo();
  // What is due lands, before somebody polls.
  void Land();
  // It holds reads or writes.
  bool Busy() const;
  // An I/O hangs or is late.
  bool Stalls() const;
  // Nothing that is late reaches this memory any more.
  void Detach(const iovec& part);
  // A read that is in flight goes there.
  bool Reaches(std::span<const std::byte> memory) const;
  const std::byte* stored() const { return media_.data(); }
  // The earliest time at which something in flight ends; World::kNever.
  std::int64_t NextEndNs() const;

 private:
  friend class SimQueue;
  friend class SimDevice;

  World& world_;
  const DriveSpec spec_;
  device::Traits traits_;
  Media media_;
  std::vector<SimQueue*> queues_;
  bool vanished_ = false;
  bool retired_ = false;
  std::int64_t busy_until_ns_ = 0;
  std::int64_t storm_until_ns_ = 0;
};

}  // namespace kvpool::sim
