// The part of Check that is about GPUs.
#include <fmt/format.h>

#include <set>

#include "base/limits.h"
#include "config/problem.h"
#include "config/text.h"

namespace kvpool::config {
namespace {

constexpr double kMaxRate = 1e15;
constexpr double kMaxLatencyUs = 10e6;
constexpr std::uint32_t kMaxOrdinal = 1024;

class GpuChecker {
 public:
  GpuChecker(const GpuConfig& gpu, std::size_t index, std::vector<Problem>& problems)
      : gpu_(gpu),
        prefix_(fmt::format("gpu[{}].", index)),
        title_(Title("gpu", index, gpu.name)),
        null_(gpu.kind == GpuKind::kNull),
        problems_(problems) {
    if (auto problem = ProblemOfName(fmt::format("gpu {}", index + 1), gpu.name);
        !problem.empty()) {
      problems_.push_back({prefix_ + "name", std::move(problem)});
    }
  }

  void Run() {
    CheckRate();
    if (gpu_.ordinal > kMaxOrdinal || (null_ && gpu_.ordinal != 0)) {
      Add("ordinal", "{}: ordinal {} is for cuda, 0 to {}: change it", title_, gpu_.ordinal,
          kMaxOrdinal);
    }
    if (!(gpu_.latency_us >= 0 && gpu_.latency_us <= kMaxLatencyUs) ||
        (!null_ && gpu_.latency_us != 0)) {
      Add("latency_us", "{}: latency_us {} is for null, 0 to {}: change it", title_,
          gpu_.latency_us, kMaxLatencyUs);
    }
    if (gpu_.numa_node < -1) {
      Add("numa_node", "{}: numa_node {} is no node: write 0 or above, or leave it out", title_,
          gpu_.numa_node);
    }
  }

  template <class... Args>
  void Add(const char* key, fmt::format_string<Args...> format, Args&&... args) {
    problems_.push_back({prefix_ + key, fmt::format(format, std::forward<Args>(args)...)});
  }
  const std::string& title() const { return title_; }

 private:
  void CheckRate() {
    const double rate = gpu_.bytes_per_s;
    if (null_ && rate == 0) {
      Add("bandwidth", "{}: the bandwidth is missing: write one such as \"20GB/s\"", title_);
    } else if (rate != 0 && !(rate >= 1 && rate <= kMaxRate)) {
      Add("bandwidth", "{}: bandwidth is {} bytes/s and must be from 1 to {:g}: correct it", title_,
          rate, kMaxRate);
    }
  }

  const GpuConfig& gpu_;
  const std::string prefix_;
  const std::string title_;
  const bool null_;
  std::vector<Problem>& problems_;
};

}  // namespace

void CheckGpus(const Config& config, std::vector<Problem>& problems) {
  if (config.gpus.size() > kMaxGpus) {
    problems.push_back({"", fmt::format("{} GPUs are more than the limit of {}: leave some out",
                                        config.gpus.size(), kMaxGpus)});
    return;
  }
  std::set<std::string> names;
  std::set<std::uint32_t> ordinals;
  for (std::size_t i = 0; i < config.gpus.size(); ++i) {
    const GpuConfig& gpu = config.gpus[i];
    GpuChecker checker(gpu, i, problems);
    checker.Run();
    if (!gpu.name.empty() && !names.insert(gpu.name).second) {
      checker.Add("name", "{}: another GPU has this name: names are unique in a pool",
                  checker.title());
    }
    if (gpu.kind == GpuKind::kCuda && !ordinals.insert(gpu.ordinal).second) {
      checker.Add("ordinal", "{}: another GPU has this ordinal: name each GPU once",
                  checker.title());
    }
  }
}

}  // namespace kvpool::config
