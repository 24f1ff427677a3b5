// In place of pool/quarantine.cpp, for a control: slots that a late write may reach are given to
// other blocks at once.
#include "pool/quarantine.h"

namespace kvpool::pool {

void Quarantine::Hold(std::uint64_t) {}
void Quarantine::Release(std::uint64_t) {}
bool Quarantine::Keeps(std::uint64_t) { return false; }
void Quarantine::TakeFree(std::vector<std::uint64_t>&) {}
std::vector<std::uint64_t> Quarantine::GivenUp() const { return {}; }
void Quarantine::StartAnew() {}

}  // namespace kvpool::pool
