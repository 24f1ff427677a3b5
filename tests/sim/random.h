// Random: the one source of chance in a simulation. The same seed gives the same run everywhere.
#pragma once

#include <cmath>
#include <cstdint>

namespace kvpool::sim {

// SplitMix64's step; also scrambles names of things into words.
constexpr std::uint64_t Scramble(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Threads: one.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(Scramble(seed)) {}

  std::uint64_t Next() {
    state_ += 0x9e3779b97f4a7c15;
    return Scramble(state_);
  }
  std::uint64_t Below(std::uint64_t n) { return n == 0 ? 0 : Next() % n; }
  std::uint64_t Between(std::uint64_t least, std::uint64_t most) {
    return least + Below(most - least + 1);
  }
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  bool Chance(double p) { return Unit() < p; }
  // Every order of magnitude is as likely as any other.
  std::uint64_t Logarithmic(double least, double most) {
    return static_cast<std::uint64_t>(least * std::pow(most / least, Unit()));
  }

 private:
  std::uint64_t state_;
};

}  // namespace kvpool::sim
