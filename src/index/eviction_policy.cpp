#include "index/eviction_policy.h"

#include <array>
#include <string>

#include "index/policies/arc.h"
#include "index/policies/hit_density.h"
#include "index/policies/lru.h"
#include "index/policies/s3fifo.h"
#include "index/policies/wtinylfu.h"

namespace kvpool::index {
namespace {

struct Known {
  std::string_view name;
  std::unique_ptr<EvictionPolicy> (*make)();
};

template <class Policy>
std::unique_ptr<EvictionPolicy> Make() {
  return std::make_unique<Policy>();
}

constexpr std::array kKnown = {
    Known{"default", &Make<HitDensityPolicy>},
    Known{"lru", &Make<LruPolicy>},
    Known{"s3fifo", &Make<S3FifoPolicy>},
    Known{"wtinylfu", &Make<WTinyLfuPolicy>},
    Known{"arc", &Make<ArcPolicy>},
};

}  // namespace

std::vector<std::string_view> EvictionPolicyNames() {
  std::vector<std::string_view> names;
  for (const Known& known : kKnown) names.push_back(known.name);
  return names;
}

Result<std::unique_ptr<EvictionPolicy>> MakeEvictionPolicy(std::string_view name) {
  std::string names;
  for (const Known& known : kKnown) {
    if (known.name == name) return known.make();
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  return Fail(Status::kInvalid, "There is no eviction policy '" + std::string(name) +
                                    "'; choose one of: " + names + ".");
}

}  // namespace kvpool::index
