// In place of detacher.cpp, for a control: memory is said to be out of reach, and is not.
#include "tests/sim/detacher.h"

namespace kvpool::sim {

bool SimDetacher::Detach(std::span<const iovec>) { return true; }

}  // namespace kvpool::sim
