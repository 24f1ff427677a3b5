// Every limit of kvpool. docs/architecture.md says what each protects.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvpool {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

inline constexpr std::size_t kMaxNameBytes = 64;  // of a pool, a device, a link
inline constexpr std::size_t kMaxKeyBytes = 512;
inline constexpr std::size_t kMaxBatchKeys = 65'536;
inline constexpr std::size_t kMaxDevices = 64;
inline constexpr std::uint32_t kMaxLayers = 1024;
inline constexpr std::uint32_t kMaxUnitsPerBlock = 4096;
inline constexpr std::size_t kMaxRequestsPerChannel = 1024;

// Space on a device is handed out in slabs; a slab is cut into equal slots of one space.
inline constexpr std::uint64_t kSlabBytes = 2 * kMiB;
inline constexpr std::uint32_t kMinSlotBytes = 32 * kKiB;
inline constexpr std::uint32_t kMaxUnitBytes = 1 * kMiB;  // one I/O of any device carries a unit

// What every transfer to a drive is aligned to.
inline constexpr std::uint32_t kIoAlignment = 4096;

}  // namespace kvpool
