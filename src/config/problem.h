// Problem: one thing that is wrong with a configuration, and which key it is about.
#pragma once

#include <string>
#include <vector>

#include "kvpool/config.h"

namespace kvpool::config {

struct Problem {
  std::string key;       // "pool.unit", "device[0].capacity"; empty: the file as a whole
  std::string sentence;  // what is wrong and what to do
  int line = 0;          // in the file; 0: not known
};

// What Config::Validate reports, each with its key.
std::vector<Problem> Check(const Config& config);
// The parts of it that are about GPUs and about tenants.
void CheckGpus(const Config& config, std::vector<Problem>& problems);
void CheckTenants(const std::vector<TenantConfig>& tenants, std::vector<Problem>& problems);

}  // namespace kvpool::config
