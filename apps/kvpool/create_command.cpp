#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <string>
#include <vector>

#include "apps/kvpool/interrupt.h"
#include "apps/kvpool/options.h"
#include "kvpool/config.h"
#include "kvpool/pool.h"

namespace kvpool::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExamples =
    R"(  kvpool probe /mnt/nvme0 /mnt/nvme1 --out pool.toml
  kvpool create --pool pool.toml
      Makes the files that pool.toml names, at their full size, and the catalog. Nothing is
      overwritten: where one of them exists already, create says which and leaves all as it was.)";

// What an interrupt must not leave half-made: everything of the pool that does not exist yet.
std::vector<TemporaryPath> NewFiles(const Config& config) {
  std::vector<fs::path> paths;
  for (const DeviceConfig& device : config.devices) {
    if (device.kind == DeviceKind::kFile) paths.push_back(device.path);
  }
  if (!config.catalog.empty()) {
    for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
      paths.push_back(config.catalog.string() + suffix);
    }
  }
  std::vector<TemporaryPath> files;
  std::error_code error;
  for (const fs::path& path : paths) {
    if (!fs::exists(fs::symlink_status(path, error))) files.emplace_back(path);
  }
  return files;
}

Result<void> RunCreate(const fs::path& pool_file) {
  const Result<Config> config = LoadPoolFile(pool_file);
  if (!config) return tl::unexpected(config.error());
  std::vector<TemporaryPath> files = NewFiles(*config);
  if (auto created = Pool::Create(*config); !created) return created;
  for (TemporaryPath& file : files) file.Keep();
  std::vector<std::string> names;
  for (const DeviceConfig& device : config->devices) names.push_back(device.name);
  fmt::print("created pool \"{}\" on {}\n", config->name, fmt::join(names, ", "));
  return {};
}

}  // namespace

void AddCreate(CLI::App& app, Action& action) {
  auto file = std::make_shared<fs::path>();
  CLI::App& command = AddCommand(app, "create", "Make the files of a pool", kExamples, action,
                                 [file] { return RunCreate(*file); });
  AddPool(command, *file);
}

}  // namespace kvpool::cli
