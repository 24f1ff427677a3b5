#include "pool/find_drives.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "device/open.h"

namespace kvpool::pool {
namespace {

bool IsDrive(const DeviceConfig& device) { return device.kind != DeviceKind::kMemory; }

// Raw drives that the kernel has: any of them may carry the label of any.
bool IsSearched(const DeviceConfig& device) {
  return IsRawDrive(device.kind) && device.kind != DeviceKind::kSpdk;
}

// A label and where it was read.
struct Sighting {
  device::Label label;
  DeviceConfig at;
};

class Finder {
 public:
  Finder(const Config& config, std::uint64_t pool_id, const LabelSource& source)
      : config_(config), source_(source), homes_(config.devices.size()) {
    drives_.pool_id = pool_id;
    drives_.by_index.resize(config.devices.size());
  }

  Result<PoolDrives> Run() {
    for (std::size_t i = 0; i < config_.devices.size(); ++i) {
      const DeviceConfig& one = config_.devices[i];
      if (IsDrive(one)) homes_[i] = source_.read(one);
    }
    if (drives_.pool_id == 0) drives_.pool_id = MostCommonPool();
    for (std::size_t i = 0; i < config_.devices.size(); ++i) {
      if (!IsAtHome(i)) continue;
      if (auto added = Add(config_.devices[i], **homes_[i], ""); !added) return Refused(added);
    }
    for (std::size_t i = 0; i < config_.devices.size(); ++i) {
      if (!IsDrive(config_.devices[i]) || IsAtHome(i)) continue;
      if (auto found = LookElsewhere(i); !found) {
        if (!IsAbsence(i, found.error())) return Refused(found);
        absent_.emplace_back(i, found.error());
      }
    }
    if (auto placed = PlaceAbsent(); !placed) return Refused(placed);
    return std::move(drives_);
  }

 private:
  static tl::unexpected<Error> Refused(const Result<void>& why) {
    return tl::unexpected(why.error());
  }

  // May the pool do without drive `i`, which `error` was found of?
  bool IsAbsence(std::size_t i, const Error& error) const {
    const bool strangers = *homes_[i] && (*homes_[i])->pool_id != drives_.pool_id;
    if (strangers) return !config_.catalog.empty();
    return error.status == Status::kNotFound || error.status == Status::kIoError ||
           error.status == Status::kCorrupt;
  }

  // Labels say where drives stand. One without stands where it is configured, or else where nobody
  // does.
  Result<void> PlaceAbsent() {
    const auto there = [](const auto& place) { return place.has_value(); };
    if (!absent_.empty() && std::none_of(drives_.by_index.begin(), drives_.by_index.end(), there)) {
      return tl::unexpected(absent_.front().second);
    }
    for (auto& [i, error] : absent_) {
      auto place = drives_.by_index.begin() + static_cast<std::ptrdiff_t>(i);
      if (*place) place = std::find_if_not(drives_.by_index.begin(), drives_.by_index.end(), there);
      *place = PoolDrive{config_.devices[i], {}, {}, std::move(error)};
    }
    return {};
  }

  // Of the labels at the configured paths; the first of those that are as common.
  std::uint64_t MostCommonPool() const {
    std::map<std::uint64_t, std::size_t> counts;
    for (const auto& home : homes_) {
      if (home && *home) ++counts[(*home)->pool_id];
    }
    std::uint64_t best = 0;
    for (const auto& home : homes_) {
      if (home && *home && (best == 0 || counts[(*home)->pool_id] > counts[best])) {
        best = (*home)->pool_id;
      }
    }
    return best;
  }

  bool IsConfigured(const std::string& name) const {
    return std::any_of(config_.devices.begin(), config_.devices.end(),
                       [&](const DeviceConfig& one) { return one.name == name; });
  }

  // A name that the pool file does not know was changed there.
  bool IsAtHome(std::size_t i) const {
    const auto& home = homes_[i];
    if (!home || !*home || (*home)->pool_id != drives_.pool_id) return false;
    const std::string& name = (*home)->name;
    return name.empty() || name == config_.devices[i].name || !IsConfigured(name);
  }

  bool IsWanted(const device::Label& label, std::size_t i) const {
    if (label.pool_id != drives_.pool_id) return false;
    if (!label.name.empty() && IsConfigured(label.name)) {
      return label.name == config_.devices[i].name;
    }
    return label.index == i && !drives_.by_index[i];
  }

  // What the other paths of the pool file and the machine's drives carry.
  std::vector<Sighting> Sightings(const DeviceConfig& one) {
    std::vector<Sighting> all;
    for (std::size_t i = 0; i < config_.devices.size(); ++i) {
      const DeviceConfig& other = config_.devices[i];
      const bool same_sort = other.kind == one.kind || (IsSearched(other) && IsSearched(one));
      if (homes_[i] && *homes_[i] && !IsAtHome(i) && same_sort) {
        all.push_back({**homes_[i], other});
      }
    }
    if (!IsSearched(one) || drives_.pool_id == 0) return all;
    if (!searched_) searched_ = source_.search(drives_.pool_id);
    for (const device::LabelledDrive& found : *searched_) {
      DeviceConfig at = one;
      const bool by_block = one.kind == DeviceKind::kBlock || found.drive.character.empty();
      at.path = by_block ? found.drive.block : found.drive.character;
      all.push_back({found.label, std::move(at)});
    }
    return all;
  }

  Result<void> LookElsewhere(std::size_t i) {
    const DeviceConfig& one = config_.devices[i];
    const std::vector<Sighting> sightings = Sightings(one);
    if (auto single = CheckSingle(i); !single) return single;
    for (const Sighting& seen : sightings) {
      if (!IsWanted(seen.label, i)) continue;
      DeviceConfig moved = one;
      moved.path = seen.at.path;
      moved.address = seen.at.address;
      return Add(moved, seen.label,
                 fmt::format("found by its label at {}, not at {}", moved.Where(), one.Where()));
    }
    return Astray(i);
  }

  Result<void> CheckSingle(std::size_t i) const {
    std::vector<std::string> where;
    if (IsSearched(config_.devices[i]) && searched_) {
      for (const device::LabelledDrive& found : *searched_) {
        if (IsWanted(found.label, i)) where.push_back(found.drive.Path());
      }
    }
    if (where.size() < 2) return {};
    return Fail(Status::kInvalid,
                fmt::format("{} carry the same label, of device {}: one is a copy of the other; "
                            "remove it, or name the right one in the pool file",
                            fmt::join(where, " and "), config_.devices[i].name));
  }

  // What to say of a device whose label is nowhere.
  Result<void> Astray(std::size_t i) const {
    const DeviceConfig& one = config_.devices[i];
    const std::string_view looked =
        IsSearched(one) ? ", and no drive of this machine that this user may read has its label"
                        : "";
    if (*homes_[i]) {
      return Fail(
          Status::kInvalid,
          (*homes_[i])->pool_id == drives_.pool_id
              ? fmt::format("{} is device {} of this pool and not {}{}: correct the paths "
                            "in the pool file",
                            one.Where(), (*homes_[i])->name, one.name, looked)
              : fmt::format("device {} at {} belongs to another pool than {}{}: name the "
                            "devices of one pool",
                            one.name, one.Where(),
                            config_.catalog.empty() ? "the other devices" : "the catalog", looked));
    }
    const Error& error = homes_[i]->error();
    if (error.status != Status::kNotFound) return tl::unexpected(error);
    return Fail(Status::kNotFound,
                fmt::format("{}{} (kvpool create makes the devices of a pool file)", error.message,
                            looked));
  }

  Result<void> Add(const DeviceConfig& config, const device::Label& label, std::string remark) {
    if (label.count != drives_.by_index.size()) {
      return Fail(Status::kInvalid,
                  fmt::format("the pool of device {} was created with {} devices, but {} are "
                              "configured: name them all",
                              config.name, label.count, drives_.by_index.size()));
    }
    std::optional<PoolDrive>& place = drives_.by_index[label.index];
    if (place) {
      return Fail(Status::kInvalid,
                  fmt::format("devices {} and {} carry the same label: one is a copy of the other",
                              place->config.name, config.name));
    }
    place = PoolDrive{config, label, std::move(remark), {}};
    return {};
  }

  const Config& config_;
  const LabelSource& source_;
  std::vector<std::optional<Result<device::Label>>> homes_;  // what is at each path; memory: none
  std::optional<std::vector<device::LabelledDrive>> searched_;
  std::vector<std::pair<std::size_t, Error>> absent_;  // by position in the configuration
  PoolDrives drives_;
};

}  // namespace

Result<PoolDrives> FindDrives(const Config& config, std::uint64_t pool_id,
                              const LabelSource& source) {
  return Finder(config, pool_id, source).Run();
}

}  // namespace kvpool::pool
