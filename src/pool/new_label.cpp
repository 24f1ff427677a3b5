#include "pool/new_label.h"

#include <chrono>
#include <random>

namespace kvpool::pool {

std::uint64_t RandomId() {
  std::random_device random;
  return (std::uint64_t{random()} << 32 | random()) | 1;
}

device::Label NewLabel(std::uint64_t pool_id, std::uint64_t drive_id, std::size_t index,
                       std::size_t count, const DeviceConfig& config) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {.pool_id = pool_id,
          .device_id = drive_id,
          .index = static_cast<std::uint32_t>(index),
          .count = static_cast<std::uint32_t>(count),
          .created_unix_s = std::chrono::duration_cast<std::chrono::seconds>(now).count(),
          .name = config.name};
}

}  // namespace kvpool::pool
