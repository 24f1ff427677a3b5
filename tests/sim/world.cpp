#include "tests/sim/world.h"

#include <cstdio>

namespace kvpool::sim {

void World::Print(const std::string& text) const {
  std::printf("%14.6f ms  %s\n", static_cast<double>(now()) * 1e-6, text.c_str());
}

void World::Fail(Failure kind, const std::string& text) {
  Note("FAILED");
  if (verbose_) Print(text);
  failed_.push_back({kind, text});
}

}  // namespace kvpool::sim
