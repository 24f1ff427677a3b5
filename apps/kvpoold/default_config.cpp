#include "apps/kvpoold/default_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/default_socket.h"
#include "base/limits.h"
#include "mem/region.h"

namespace kvpool::daemon {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMostMemory = 4 * kGiB;
constexpr std::uint64_t kMostFile = 16 * kGiB;
// Only the first deal goes by these; then shares follow what the devices show.
constexpr double kMemoryBytesPerS = 5e9;
constexpr double kFileBytesPerS = 1e9;

std::uint64_t Slabs(std::uint64_t bytes, std::uint64_t most) {
  return std::clamp(bytes, kSlabBytes, most) / kSlabBytes * kSlabBytes;
}

}  // namespace

Result<Config> DefaultConfig() {
  Config config;
  const fs::path state = DefaultStateFolder();
  config.socket = DefaultSocket();
  std::error_code failed;
  for (const fs::path& folder : {state, config.socket.parent_path()}) {
    fs::create_directories(folder, failed);
    if (!failed) continue;
    return Fail(Status::kIoError,
                fmt::format("the folder {} cannot be made ({}): write a pool file, and name it "
                            "with --pool",
                            folder.string(), failed.message()),
                failed.value());
  }
  DeviceConfig memory{.name = "memory", .kind = DeviceKind::kMemory};
  memory.capacity_bytes = Slabs(mem::AvailableMemory() / 8, kMostMemory);
  memory.read_bytes_per_s = memory.write_bytes_per_s = kMemoryBytesPerS;
  DeviceConfig file{.name = "file", .kind = DeviceKind::kFile, .path = state / "file.kvpool"};
  const auto there = fs::file_size(file.path, failed);  // with its label
  file.capacity_bytes = failed ? Slabs(fs::space(state, failed).available / 4, kMostFile)
                               : Slabs(there - kSlabBytes, kMostFile);
  file.read_bytes_per_s = file.write_bytes_per_s = kFileBytesPerS;
  file.accept_buffered = true;
  config.devices = {memory, file};
  config.catalog = state / "catalog";
  config.create_if_missing = true;
  return config;
}

}  // namespace kvpool::daemon
