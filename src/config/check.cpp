#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/limits.h"
#include "base/units.h"
#include "config/problem.h"
#include "config/text.h"

namespace kvpool::config {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxDeviceBytes = std::uint64_t{1} << 52;  // what a unit's record can name
constexpr std::uint32_t kMaxLanes = 1024;
// Rates further apart than these leave no digits for shares of them.
constexpr double kMinRate = 1;
constexpr double kMaxRate = 1e15;
constexpr double kMaxLatencyUs = 10e6;
constexpr double kMaxSlowStepSeconds = 1e6;
constexpr auto kMaxDeadline = std::chrono::hours(24);

class Checker {
 public:
  explicit Checker(const Config& config) : config_(config) {}

  std::vector<Problem> Run() {
    CheckPool();
    CheckDevices();
    CheckLinks();
    CheckGpus(config_, problems_);
    CheckTenants(config_.tenants, problems_);
    return std::move(problems_);
  }

 private:
  template <class... Args>
  void Add(std::string key, fmt::format_string<Args...> format, Args&&... args) {
    problems_.push_back({std::move(key), fmt::format(format, std::forward<Args>(args)...)});
  }

  void CheckName(const std::string& key, const std::string& owner, const std::string& name) {
    std::string problem = ProblemOfName(owner, name);
    if (!problem.empty()) problems_.push_back({key, std::move(problem)});
  }

  void CheckPath(const std::string& key, const std::string& owner, const std::string& path) {
    if (!IsUtf8(path) || path.find('\0') != std::string::npos) {
      Add(key, "{}: the path is not UTF-8 text, which is all that a TOML file can hold: rename it",
          owner);
    }
  }

  void CheckRate(const std::string& key, const std::string& owner, const char* what, double rate) {
    if (!(rate >= kMinRate && rate <= kMaxRate)) {
      Add(key, "{}: {} is {} bytes/s and must be from {} to {:g}: measure it with `kvpool probe`",
          owner, what, rate, kMinRate, kMaxRate);
    }
  }

  void CheckPool() {
    if (config_.version != Config::kVersion) {
      Add("pool.version",
          "pool: version {} is not {}, the one this kvpool reads: use the kvpool "
          "that wrote it",
          config_.version, Config::kVersion);
    }
    CheckName("pool.name", "pool name", config_.name);
    CheckName("pool.policy", "pool policy", config_.policy);
    const std::uint64_t unit = config_.unit_bytes;
    if (unit < kMinSlotBytes || unit > kMaxUnitBytes || (unit & (unit - 1)) != 0) {
      Add("pool.unit",
          "pool: unit is {} and must be a power of two from {} to {}: 256KiB suits most",
          FormatBytes(unit), FormatBytes(kMinSlotBytes), FormatBytes(kMaxUnitBytes));
    }
    if (config_.lanes > kMaxLanes) {
      Add("pool.lanes", "pool: {} lanes are more than the limit of {}: 0 lets the pool choose",
          config_.lanes, kMaxLanes);
    }
    if (config_.deadline.count() <= 0 || config_.deadline > kMaxDeadline) {
      Add("pool.deadline_ms", "pool: deadline_ms is {} and must be from 1 to {}: 30000 suits most",
          config_.deadline.count(),
          std::chrono::duration_cast<std::chrono::milliseconds>(kMaxDeadline).count());
    }
    if (!config_.verify && !config_.catalog.empty()) {
      Add("pool.verify",
          "pool: verify is off and catalog is set, but without checksums a crash could bring back "
          "other bytes: leave out catalog or switch verify on");
    }
    CheckPath("pool.catalog", "pool catalog", config_.catalog.string());
    CheckPath("pool.socket", "pool socket", config_.socket.string());
    if (config_.socket.string().size() > kMaxSocketBytes) {
      Add("pool.socket", "pool: the socket's path has {} bytes and may have {}: shorten it",
          config_.socket.string().size(), kMaxSocketBytes);
    }
  }

  void CheckDevices() {
    const std::size_t count = config_.devices.size();
    if (count == 0 && config_.socket.empty())
      Add("", "no device: add at least one [[device]] table, or let `kvpool probe` write it");
    if (count > kMaxDevices) {
      Add("", "{} devices are more than the limit of {}: leave some out", count, kMaxDevices);
      return;
    }
    std::map<fs::path, std::string> taken;
    if (!config_.catalog.empty()) taken[config_.catalog.lexically_normal()] = "the catalog";
    std::set<std::string> names;
    for (std::size_t i = 0; i < count; ++i) {
      const DeviceConfig& device = config_.devices[i];
      const std::string key = fmt::format("device[{}].", i);
      const std::string owner = Title("device", i, device.name);
      CheckName(key + "name", fmt::format("device {}", i + 1), device.name);
      if (!device.name.empty() && !names.insert(device.name).second) {
        Add(key + "name", "{}: another device has this name: names are unique in a pool", owner);
      }
      CheckDevice(device, key, owner);
      const bool spdk = device.kind == DeviceKind::kSpdk;
      if (device.Where().empty()) continue;
      const auto [user, fresh] = taken.try_emplace(
          spdk ? fs::path(device.address) : device.path.lexically_normal(), owner);
      if (!fresh) {
        Add(key + (spdk ? "address" : "path"), "{}: {} uses the same {}: give each its own", owner,
            user->second, spdk ? "address" : "path");
      }
    }
  }

  void CheckDevice(const DeviceConfig& device, const std::string& key, const std::string& owner) {
    const bool memory = device.kind == DeviceKind::kMemory;
    CheckPlace(device, key, owner);
    CheckCapacity(device, key + "capacity", owner);
    if (device.numa_node < -1 || (!memory && device.numa_node != -1)) {
      Add(key + "numa_node", "{}: numa_node {} is for memory, 0 or above, or -1 for any: change it",
          owner, device.numa_node);
    }
    if (device.polled && device.kind != DeviceKind::kNvme && device.kind != DeviceKind::kDrive) {
      Add(key + "polled", "{}: polled is for nvme and drive: remove it", owner);
    }
    if (device.accept_buffered && device.kind != DeviceKind::kFile) {
      Add(key + "accept_buffered", "{}: accept_buffered is for files: remove it", owner);
    }
    CheckRate(key + "read_bandwidth", owner, "read_bandwidth", device.read_bytes_per_s);
    CheckRate(key + "write_bandwidth", owner, "write_bandwidth", device.write_bytes_per_s);
    if (memory && device.write_budget_per_day != 0)
      Add(key + "write_budget_per_day", "{}: memory does not wear out: remove the budget", owner);
    if (device.write_budget_per_day > kMaxDeviceBytes) {
      Add(key + "write_budget_per_day",
          "{}: write_budget_per_day {} is above the limit of {}: "
          "leave it out, there is no limit then",
          owner, FormatBytes(device.write_budget_per_day), FormatBytes(kMaxDeviceBytes));
    }
    if (!IsUtf8(device.faults))
      Add(key + "faults", "{}: faults is not UTF-8 text: rewrite it", owner);
    if (device.slow) CheckSlow(*device.slow, key + "slow.", owner);
  }

  // Where the device is: a path, an address, or neither.
  void CheckPlace(const DeviceConfig& device, const std::string& key, const std::string& owner) {
    const bool memory = device.kind == DeviceKind::kMemory;
    const bool spdk = device.kind == DeviceKind::kSpdk;
    CheckPath(key + "path", owner, device.path.string());
    if (memory && !device.path.empty())
      Add(key + "path", "{}: memory has no path: remove it", owner);
    if (spdk && !device.path.empty())
      Add(key + "path", "{}: spdk reaches its drive by address: write that instead", owner);
    if (!memory && !spdk && device.path.empty()) {
      Add(key + "path", "{}: the path is missing: name the {}", owner,
          device.kind == DeviceKind::kFile ? "file" : "drive");
    }
    if (!spdk) {
      if (!device.address.empty())
        Add(key + "address", "{}: address is for spdk: remove it, or set kind to spdk", owner);
    } else if (!IsUtf8(device.address)) {
      Add(key + "address", "{}: address is not UTF-8 text: rewrite it", owner);
    } else if (device.address.find("trtype:") == std::string::npos ||
               device.address.find("traddr:") == std::string::npos) {
      Add(key + "address",
          "{}: the address is not a transport id: write one such as "
          "\"trtype:PCIe traddr:0000:00:04.0 ns:1\"",
          owner);
    }
  }

  void CheckCapacity(const DeviceConfig& device, const std::string& key, const std::string& owner) {
    const std::uint64_t bytes = device.capacity_bytes;
    if (bytes == 0 && IsRawDrive(device.kind)) return;
    if (bytes == 0) {
      Add(key, "{}: the capacity is missing: write one such as \"4GiB\"", owner);
    } else if (bytes % kSlabBytes != 0) {
      Add(key, "{}: capacity {} is not a multiple of 2 MiB: {} bytes is the next one below", owner,
          bytes, bytes - bytes % kSlabBytes);
    } else if (bytes > kMaxDeviceBytes) {
      Add(key, "{}: capacity {} is above the limit of {}: split the device", owner,
          FormatBytes(bytes), FormatBytes(kMaxDeviceBytes));
    }
  }

  void CheckSlow(const SlowConfig& slow, const std::string& key, const std::string& owner) {
    CheckRate(key + "bandwidth", owner, "slow.bandwidth", slow.bytes_per_s);
    if (!(slow.latency_us >= 0 && slow.latency_us <= kMaxLatencyUs)) {
      Add(key + "latency_us", "{}: slow.latency_us is {} and must be from 0 to {}", owner,
          slow.latency_us, kMaxLatencyUs);
    }
    if (slow.seed >> 63 != 0) {
      Add(key + "seed", "{}: slow.seed {} is above 2^63 - 1, the most a TOML file can hold", owner,
          slow.seed);
    }
    CheckSlowSteps(slow.later, key + "later", owner);
  }

  void CheckSlowSteps(const std::vector<SlowStep>& steps, const std::string& key,
                      const std::string& owner) {
    if (steps.size() > kMaxSlowSteps) {
      Add(key, "{}: {} later speeds are more than the limit of {}: leave some out", owner,
          steps.size(), kMaxSlowSteps);
      return;
    }
    double before_s = 0;
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const std::string at = fmt::format("{}[{}].", key, i);
      CheckRate(at + "bandwidth", owner, "slow.later.bandwidth", steps[i].bytes_per_s);
      if (!(steps[i].after_s >= before_s && steps[i].after_s <= kMaxSlowStepSeconds)) {
        Add(at + "after_s",
            "{}: slow.later.after_s is {} and must be from {} to {}, earliest first", owner,
            steps[i].after_s, before_s, kMaxSlowStepSeconds);
      }
      before_s = std::max(before_s, steps[i].after_s);
    }
  }

  void CheckLinks() {
    if (config_.links.size() > kMaxDevices) {
      Add("", "{} links are more than the limit of {}: leave some out", config_.links.size(),
          kMaxDevices);
      return;
    }
    std::set<std::string> names;
    std::vector<std::set<std::string>> members;
    for (std::size_t i = 0; i < config_.links.size(); ++i) {
      const LinkConfig& link = config_.links[i];
      const std::string key = fmt::format("link[{}].", i);
      const std::string owner = Title("link", i, link.name);
      CheckName(key + "name", fmt::format("link {}", i + 1), link.name);
      if (!link.name.empty() && !names.insert(link.name).second) {
        Add(key + "name", "{}: another link has this name: names are unique in a pool", owner);
      }
      CheckRate(key + "bandwidth", owner, "bandwidth", link.bytes_per_s);
      members.emplace_back(link.devices.begin(), link.devices.end());
      CheckMembers(link, members.back(), key + "devices", owner);
      CheckNesting(members, key + "devices", owner);
    }
  }

  void CheckMembers(const LinkConfig& link, const std::set<std::string>& members,
                    const std::string& key, const std::string& owner) {
    if (members.empty()) Add(key, "{}: no devices: name those that share it", owner);
    if (members.size() != link.devices.size()) Add(key, "{}: a device is named twice", owner);
    for (const std::string& name : members) {
      const auto same = [&](const DeviceConfig& device) { return device.name == name; };
      if (std::none_of(config_.devices.begin(), config_.devices.end(), same)) {
        Add(key, "{}: no device is named \"{}\": correct it or add the device", owner,
            Printable(name));
      }
    }
  }

  // The last of `members` against those before it.
  void CheckNesting(const std::vector<std::set<std::string>>& members, const std::string& key,
                    const std::string& owner) {
    const std::set<std::string>& last = members.back();
    for (std::size_t i = 0; i + 1 < members.size(); ++i) {
      const auto shared = std::count_if(last.begin(), last.end(), [&](const std::string& name) {
        return members[i].contains(name);
      });
      const auto count = static_cast<std::size_t>(shared);
      if (count == 0 || count == last.size() || count == members[i].size()) continue;
      Add(key,
          "{}: it shares some devices with {} and each has others: links must nest or be "
          "disjoint",
          owner, Title("link", i, config_.links[i].name));
    }
  }

  const Config& config_;
  std::vector<Problem> problems_;
};

}  // namespace

std::vector<Problem> Check(const Config& config) { return Checker(config).Run(); }

}  // namespace kvpool::config

namespace kvpool {

std::vector<std::string> Config::Validate() const {
  std::vector<std::string> sentences;
  for (config::Problem& problem : config::Check(*this)) {
    sentences.push_back(std::move(problem.sentence));
  }
  return sentences;
}

}  // namespace kvpool
