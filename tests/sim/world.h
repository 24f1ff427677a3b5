// World: what everything in one simulation shares: time, chance, the moment of the crash, and the
// list of what went wrong.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "tests/sim/random.h"

namespace kvpool::sim {

inline constexpr std::int64_t kMs = 1'000'000;  // of the clock, which counts nanoseconds

enum class Failure : std::uint8_t { kWrongBytes, kHang, kLeak, kOther };

// Threads: one.
class World {
 public:
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

  World(std::uint64_t seed, bool verbose) : random(seed), verbose_(verbose) {}

  ManualClock clock;
  Random random;
  std::int64_t now() const { return clock.NowNs(); }

  // --- the crash ---
  // Something happens that a crash may come before. Crashes when its time has come.
  void Event() {
    ++events_;
    if (!crashed_ && events_ >= crash_at_) Crash();
  }
  // After so many more events; kNever: not at all.
  void PlanCrash(std::uint64_t events, std::function<void()> on_crash) {
    crash_at_ = events == ~std::uint64_t{0} ? events : events_ + events;
    on_crash_ = std::move(on_crash);
    crashed_ = false;
  }
  void Crash() {
    crashed_ = true;
    Note("crash");
    on_crash_();
  }
  bool crashed() const { return crashed_; }
  std::uint64_t events() const { return events_; }

  // --- what has gone wrong in the drives so far ---
  std::uint64_t losses = 0;    // stored bytes that are not what was acknowledged
  std::uint64_t troubles = 0;  // reads and writes that failed, hung or came late or wrong

  // --- the log ---
  // What is told here makes the run's digest, and is printed where that is wanted.
  template <class... Args>
  void Note(fmt::format_string<Args...> format, Args&&... args) {
    (Mix(args), ...);
    Mix(now());
    if (verbose_) Print(fmt::format(format, std::forward<Args>(args)...));
  }
  std::uint64_t digest() const { return digest_; }

  void Fail(Failure kind, const std::string& text);
  struct Failed {
    Failure kind;
    std::string text;
  };
  const std::vector<Failed>& failed() const { return failed_; }

 private:
  template <class T>
  void Mix(const T& value) {
    if constexpr (std::is_integral_v<T>) {
      digest_ = Scramble(digest_ ^ static_cast<std::uint64_t>(value));
    }
  }
  void Print(const std::string& text) const;

  const bool verbose_;
  std::uint64_t digest_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t crash_at_ = ~std::uint64_t{0};
  bool crashed_ = false;
  std::function<void()> on_crash_;
  std::vector<Failed> failed_;
};

}  // namespace kvpool::sim
