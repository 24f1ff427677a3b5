// What the tests of SPDK devices are given on their command line, and traffic that knows what it
// has to read back.
#pragma once

#include <atomic>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/units.h"
#include "device/test_support.h"

namespace kvpool::device {

// Set by main before any test.
struct SpdkTestSetting {
  std::string address;  // a namespace whose bytes may be lost
  std::string control;  // a command that hurts it: tests/spdk/target.py or tests/spdk/pci

  std::string refused;  // what the sentence says with which the address is refused

  bool Hurts(const std::string& transport) const {
    return !control.empty() && address.find("trtype:" + transport) != address.npos;
  }
};
inline SpdkTestSetting spdk_setting;

inline DeviceConfig SpdkConfig(std::uint64_t capacity_bytes = 32 * kMiB) {
  DeviceConfig config;
  config.name = "spdk";
  config.kind = DeviceKind::kSpdk;
  config.address = spdk_setting.address;
  config.capacity_bytes = capacity_bytes;
  return config;
}

// Labels the drive, whatever it carries, and opens it.
inline Result<std::unique_ptr<Device>> MakeSpdk(const DeviceConfig& config) {
  CreateOptions options = Creation();
  options.force = true;
  options.confirm = config.address;
  if (auto created = CreateDevice(config, options); !created) {
    return tl::unexpected(created.error());
  }
  return OpenDevice(config);
}

// Has the target or drive do `verb`.
inline void Control(const std::string& verb) {
  ASSERT_EQ(std::system((spdk_setting.control + " " + verb).c_str()), 0) << verb;
}

// Random reads and writes of one queue, each checked against what was written last. Threads: one.
class Traffic {
 public:
  static constexpr std::uint32_t kBytes = 256 * kKiB;

  struct Counts {
    std::uint64_t good = 0;
    std::uint64_t failed = 0;
    std::uint64_t wrong = 0;  // kOk, and other bytes than were written
  };

  Traffic(Device& device, std::uint64_t first, std::uint64_t places, std::uint64_t seed)
      : first_(first), places_(places), random_(seed) {
    auto queue = device.OpenQueue({});
    if (!queue) ADD_FAILURE() << queue.error().message;
    queue_ = std::move(*queue);
    for (std::size_t i = 0; i < kDepth; ++i) {
      flights_.push_back(std::make_unique<Flight>());
      idle_.push_back(flights_.back().get());
    }
  }

  // Until `stop(counts)`, and then until everything is back.
  template <class Stop>
  Counts Run(const Stop& stop) {
    Counts counts;
    std::vector<Io*> done(kDepth);
    while (true) {
      if (!stop(counts)) Fill();
      if (idle_.size() == kDepth) return counts;
      const std::size_t count = queue_->Poll(done);
      for (std::size_t i = 0; i < count; ++i) {
        Check(*static_cast<Flight*>(done[i]->user), counts);
      }
    }
  }

 private:
  static constexpr std::size_t kDepth = 16;
  static constexpr std::uint64_t kUnknown = ~std::uint64_t{0};

  struct Place {
    std::uint64_t version = kUnknown;  // of its bytes; kUnknown: a write failed, or there was none
    bool busy = false;
  };
  struct Flight {
    Buffer memory{kBytes};
    TestIo io;
    std::size_t place = 0;
    std::uint64_t version = 0;
  };

  void Fill() {
    while (!idle_.empty()) {
      const std::size_t at = random_() % places_.size();
      Place& place = places_[at];
      if (place.busy) return;
      Flight& flight = *idle_.back();
      idle_.pop_back();
      place.busy = true;
      const bool write = place.version == kUnknown || random_() % 4 == 0;
      flight.place = at;
      flight.version = write ? next_version_++ : place.version;
      if (write) flight.memory.Fill(flight.version);
      if (!write) std::fill_n(flight.memory.data(), kBytes, std::byte{0xee});
      Prepare(flight, write ? Op::kWrite : Op::kRead);
      Io* io = &flight.io;
      if (queue_->Submit({&io, 1}) != 1) ADD_FAILURE() << "refused";
    }
  }

  void Prepare(Flight& flight, Op op) {
    flight.io.op = op;
    flight.io.offset = (first_ + flight.place) * kBytes;
    flight.io.bytes = kBytes;
    flight.io.own_segments = {flight.memory.Part(0, kBytes / 4),
                              flight.memory.Part(kBytes / 4, kBytes / 4 * 3)};
    flight.io.segments = flight.io.own_segments;
    flight.io.user = &flight;
  }

  void Check(Flight& flight, Counts& counts) {
    Place& place = places_[flight.place];
    place.busy = false;
    idle_.push_back(&flight);
    const bool good = flight.io.status == Status::kOk;
    ++(good ? counts.good : counts.failed);
    if (flight.io.op == Op::kWrite) {
      place.version = good ? flight.version : kUnknown;
    } else if (good) {
      expected_.Fill(flight.version);
      if (!(flight.memory == expected_)) ++counts.wrong;
    }
  }

  const std::uint64_t first_;
  std::vector<Place> places_;
  std::mt19937_64 random_;
  std::uint64_t next_version_ = 1;
  Buffer expected_{kBytes};
  std::vector<std::unique_ptr<Flight>> flights_;
  std::vector<Flight*> idle_;
  std::unique_ptr<Queue> queue_;
};

// Traffic in a thread of its own.
class Background {
 public:
  explicit Background(Device& device)
      : traffic_(std::in_place, device, 0, 100, 1), thread_([this] {
          counts_ = traffic_->Run([this](const Traffic::Counts& now) {
            good_ = now.good;
            failed_ = now.failed;
            return stop_.load();
          });
        }) {}

  void AwaitGood(std::uint64_t more) {
    const std::uint64_t until = good_ + more;
    while (good_ < until && failed_ == 0) std::this_thread::yield();
  }
  void AwaitFailed(std::uint64_t count) {
    while (failed_ < count) std::this_thread::yield();
  }
  Traffic::Counts Stop() {
    stop_ = true;
    thread_.join();
    traffic_.reset();
    return counts_;
  }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> good_{0};
  std::atomic<std::uint64_t> failed_{0};
  Traffic::Counts counts_;
  std::optional<Traffic> traffic_;
  std::thread thread_;
};

}  // namespace kvpool::device
