// RandomAt: seeded numbers without a shared state, so that any thread can draw the i-th.
#pragma once

#include <cstdint>

namespace kvpool {

// SplitMix64's output function (Steele, Lea, Flood 2014).
inline std::uint64_t RandomAt(std::uint64_t seed, std::uint64_t i) {
  std::uint64_t x = seed + (i + 1) * 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace kvpool
