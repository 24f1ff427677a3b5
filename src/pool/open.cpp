// Creating and opening: from a configuration to devices, catalog and lanes.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>

#include <algorithm>

#include "base/shared_limit.h"
#include "device/absent.h"
#include "device/fault_script.h"
#include "device/open.h"
#include "gpu/open.h"
#include "index/eviction_policy.h"
#include "ipc/client_pool.h"
#include "pool/find_drives.h"
#include "pool/new_label.h"
#include "pool/pool_impl.h"

namespace kvpool {
namespace {

namespace fs = std::filesystem;

Result<void> Validated(const Config& config) {
  const std::vector<std::string> problems = config.Validate();
  if (problems.empty()) return {};
  return Fail(Status::kInvalid, fmt::format("{}", fmt::join(problems, "\n")));
}

Result<void> CheckFaults(const Config& config) {
  for (const DeviceConfig& device : config.devices) {
    const auto script = device::ParseFaults(device.faults);
    if (script) continue;
    return Fail(script.error().status,
                fmt::format("device \"{}\": {}", device.name, script.error().message));
  }
  return {};
}

bool IsDrive(const DeviceConfig& device) { return device.kind != DeviceKind::kMemory; }

bool HasDrives(const Config& config) {
  return std::any_of(config.devices.begin(), config.devices.end(), IsDrive);
}

bool KeepsCatalog(const Config& config) { return !config.catalog.empty() && HasDrives(config); }

// Nothing that Create would make is there yet.
bool NothingThere(const Config& config) {
  std::error_code ignored;
  if (KeepsCatalog(config) && fs::exists(config.catalog, ignored)) return false;
  return std::none_of(config.devices.begin(), config.devices.end(), [&](const DeviceConfig& one) {
    if (one.kind == DeviceKind::kFile) return fs::exists(one.path, ignored);
    return IsRawDrive(one.kind) && device::ReadLabel(one).has_value();
  });
}

}  // namespace

Result<void> Pool::Create(const Config& config) {
  if (auto valid = Validated(config); !valid) return valid;
  if (config.devices.empty()) {
    return Fail(Status::kInvalid,
                "this pool file names a daemon's socket and no device: create the pool by the "
                "file that the daemon reads");
  }
  if (auto readable = CheckFaults(config); !readable) return readable;
  const std::uint64_t pool_id = pool::RandomId();
  std::vector<const DeviceConfig*> made;
  const auto undo = [&](const Error& error) {
    for (const DeviceConfig* device : made) (void)device::RemoveDevice(*device, pool_id);
    return tl::unexpected<Error>(error);
  };
  for (std::size_t i = 0; i < config.devices.size(); ++i) {
    const DeviceConfig& one = config.devices[i];
    if (!IsDrive(one)) continue;
    device::CreateOptions options;
    options.label = pool::NewLabel(pool_id, pool::RandomId(), i, config.devices.size(), one);
    if (auto created = device::CreateDevice(one, options); !created) return undo(created.error());
    made.push_back(&one);
  }
  if (KeepsCatalog(config)) {
    if (auto created = catalog::Catalog::Create(config.catalog, pool_id); !created) {
      return undo(created.error());
    }
  }
  return {};
}

Result<std::unique_ptr<Pool>> Pool::Open(const Config& config) {
  if (!config.socket.empty()) {
    if (auto valid = Validated(config); !valid) return tl::unexpected(valid.error());
    return ipc::OpenClientPool(config.socket);
  }
  auto pool = pool::OpenOwn(config);
  if (!pool) return tl::unexpected(pool.error());
  return std::unique_ptr<Pool>(std::move(*pool));
}

Result<std::unique_ptr<pool::PoolImpl>> pool::OpenOwn(const Config& config, Log log,
                                                      Lending lending) {
  if (config.create_if_missing && NothingThere(config)) {
    if (auto created = Pool::Create(config); !created) return tl::unexpected(created.error());
  }
  return PoolImpl::Open(config, Clock::Monotonic(), std::move(log), lending);
}

namespace pool {
namespace {

// The catalog's pool, for the drives' labels. 0 where it cannot be told; opening the catalog says
// why.
std::uint64_t CatalogsPool(const Config& config) {
  if (!KeepsCatalog(config)) return 0;
  return catalog::Catalog::PoolIdOf(config.catalog).value_or(0);
}

// The drive is broken or went away, and the pool may do without it. All else is for a person to put
// right first: another process that has it, a right or a limit that is missing, a wrong capacity.
bool IsAbsence(const Error& error) {
  return error.status == Status::kNotFound || error.status == Status::kIoError ||
         error.status == Status::kCorrupt;
}

Result<std::unique_ptr<device::Device>> OpenOne(const std::optional<PoolDrive>& drive,
                                                const DeviceConfig& config,
                                                const device::OpenOptions& options) {
  if (drive && drive->absent) return tl::unexpected(*drive->absent);
  return device::OpenDevice(config, options);
}

// Each takes a descriptor for as long as its space has blocks.
std::size_t MostLentMemories() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur / 8 : 128;
}

// In the order of the labels.
Result<std::vector<PoolParts::OpenedDevice>> OpenDevices(const Config& config, const Clock& clock,
                                                         const PoolDrives& drives,
                                                         Lending lending) {
  std::vector<PoolParts::OpenedDevice> devices;
  std::optional<Error> first_absent;
  bool any_drive = false;
  const auto lent_memories =
      lending == Lending::kToClients
          ? std::make_shared<SharedLimit>(MostLentMemories(), config.tenants.size() + 1)
          : nullptr;
  // Memory holds nothing yet, so it may take whatever positions the drives leave.
  auto memory = config.devices.begin();
  for (std::size_t i = 0; i < config.devices.size(); ++i) {
    const std::optional<PoolDrive>& drive = drives.by_index[i];
    device::OpenOptions options;
    options.clock = &clock;
    options.pool_id = drives.pool_id;
    options.lent_memories = lent_memories;
    if (drive) options.device_id = drive->label.device_id;
    if (drive && !drive->remark.empty()) options.remarks.push_back(drive->remark);
    if (!drive) memory = std::find_if_not(memory, config.devices.end(), IsDrive);
    const DeviceConfig& one = drive ? drive->config : *memory++;
    auto opened = OpenOne(drive, one, options);
    any_drive |= drive && opened;
    if (opened) {
      devices.push_back({one, std::move(*opened), {}, drive ? drive->label.device_id : 0});
      continue;
    }
    const bool absent = drive && (drive->absent || IsAbsence(opened.error()));
    if (!absent) return tl::unexpected(opened.error());
    if (!first_absent) first_absent = opened.error();
    devices.push_back({one, device::MakeAbsent(one, "not open"), opened.error().message});
  }
  if (first_absent && !any_drive) return tl::unexpected(*first_absent);
  return devices;
}

}  // namespace

Result<std::unique_ptr<PoolImpl>> PoolImpl::Open(const Config& config, const Clock& clock, Log log,
                                                 Lending lending) {
  if (auto valid = Validated(config); !valid) return tl::unexpected(valid.error());
  PoolParts parts{.config = config, .clock = &clock};
  parts.log = std::move(log);
  auto drives = FindDrives(config, CatalogsPool(config));
  if (!drives) return tl::unexpected(drives.error());
  auto devices = OpenDevices(config, clock, *drives, lending);
  if (!devices) return tl::unexpected(devices.error());
  parts.devices = std::move(*devices);
  parts.pool_id = drives->pool_id;
  for (const GpuConfig& gpu : config.gpus) {
    auto stager = gpu::OpenStager(gpu, clock);
    if (!stager) return tl::unexpected(stager.error());
    parts.gpus.push_back(std::move(*stager));
  }
  if (KeepsCatalog(config)) {
    auto catalog = catalog::Catalog::Open(config.catalog, drives->pool_id);
    if (!catalog) return tl::unexpected(catalog.error());
    parts.catalog = std::move(*catalog);
  }
  return Open(std::move(parts));
}

Result<void> PoolImpl::RestoreWear(catalog::Catalog& catalog) {
  auto wear = catalog.Wear();
  if (!wear) return tl::unexpected(wear.error());
  for (const catalog::WearRow& row : *wear) {
    const auto slot = std::find_if(slots_.begin(), slots_.end(), [&](const auto& one) {
      return one->drive_id != 0 && one->drive_id == row.device_id;
    });
    if (slot == slots_.end()) continue;
    (*slot)->bytes_written_before = row.bytes_written;
    if ((*slot)->budget.limited()) {
      (*slot)->budget.Restore(row.budget_left, row.recorded_unix_s, UnixSeconds());
    }
  }
  return {};
}

Result<void> PoolImpl::OpenStore(std::unique_ptr<catalog::Catalog> catalog) {
  StoreOptions options;
  options.unit_bytes = static_cast<std::uint32_t>(config_.unit_bytes);
  options.placement = config_.placement;
  options.admission = config_.admission;
  options.adapt = config_.adapt;
  options.record_changes = catalog != nullptr;
  options.spill =
      options.record_changes && std::any_of(slots_.begin(), slots_.end(),
                                            [](const auto& slot) { return slot->volatile_bytes; });
  options.clock = &clock_;
  for (const LinkConfig& link : config_.links) {
    layout::LinkRate rate{.bytes_per_s = link.bytes_per_s};
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (std::find(link.devices.begin(), link.devices.end(), slots_[i]->config.name) !=
          link.devices.end()) {
        rate.device_mask |= std::uint64_t{1} << i;
      }
    }
    options.links.push_back(rate);
  }
  // The fastest GPU's: a context goes to one of them.
  double gpu_bytes_per_s = 0;
  for (const auto& gpu : gpus_)
    gpu_bytes_per_s = std::max(gpu_bytes_per_s, gpu->traits().bytes_per_s);
  if (gpu_bytes_per_s > 0) {
    options.links.push_back(
        {.bytes_per_s = gpu_bytes_per_s, .device_mask = ~std::uint64_t{0} >> (64 - slots_.size())});
  }
  if (!gpus_.empty()) options.near_node = gpus_.front()->traits().numa_node;
  options.tenants = config_.tenants;
  std::vector<index::EvictionGroup> groups;
  for (std::size_t i = 0; i < Store::GroupsFor(options); ++i) {
    auto policy = index::MakeEvictionPolicy(config_.policy);
    if (!policy) return tl::unexpected(policy.error());
    groups.emplace_back(std::move(*policy), i == 0 ? 1 : options.tenants[i - 1].weight);
  }
  store_ = std::make_unique<Store>(options, slots_, std::move(groups));
  if (catalog) {
    auto spaces = catalog->Spaces();
    if (!spaces) return tl::unexpected(spaces.error());
    for (const auto& [id, spec] : *spaces) store_->AddSpace(id, spec);
    std::vector<catalog::BlockRow> rows;
    auto skipped = catalog->Load([&](catalog::BlockRow&& row) { rows.push_back(std::move(row)); });
    if (!skipped) return tl::unexpected(skipped.error());
    auto highest = catalog->HighestGeneration();
    if (!highest) return tl::unexpected(highest.error());
    lost_at_open_ = *skipped + store_->Restore(rows, *highest);
    if (auto restored = RestoreWear(*catalog); !restored) {
      return tl::unexpected(restored.error());
    }
  }
  auto recorder = Recorder::Make(*store_, slots_, std::move(catalog), clock_, log_);
  if (!recorder) return tl::unexpected(recorder.error());
  recorder_ = std::move(*recorder);
  return {};
}

}  // namespace pool
}  // namespace kvpool
